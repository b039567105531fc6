"""A whole job from its spec: data loaded, model built and trained, by one process or by the workers of a team."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import tensorflow as tf
from rich.console import Console

from tlkeras import builder, consoles, distribute, stages, trainable
from tlkeras import data as data_room
from tlkeras import spec as specs
from tlkeras.backbones import hub, hub_places
from tlkeras.data import sources
from tlkeras.data.dataset import Data
from tlkeras.distribute.devices import settle
from tlkeras.engine import train as engine
from tlkeras.engine.runs import RunFolder
from tlkeras.engine.team import Team
from tlkeras.errors import TlkerasError
from tlkeras.features import engines, folders
from tlkeras.records import DATA, RECIPE, card_of, check_fits, record, recorded
from tlkeras.run import Run, carry_out


def train(
    spec: specs.RunSpec,
    output: str | os.PathLike,
    *,
    resume: bool = False,
    console: Console,
    devices: str = "auto",
    team: Team | None = None,
    cache_memory: str = "",
) -> Run | None:
    """Does what a spec says, and judges the model where a team trained it.

    Args:
        spec: The spec.
        output: The run folder.
        resume: Continue the run in the folder, where there is one.
        console: Where progress is shown.
        devices: As in `tlkeras.distribute.strategy`.
        team: The processes that train together; this one alone where not given.
        cache_memory: As in `tlkeras.train`.

    Returns:
        The run; None in a process that is not the chief of its team.

    Raises:
        TlkerasError: As `tlkeras.data.load`, `tlkeras.build` and `tlkeras.train`.
    """
    team = team or Team()
    console = team.console(console)
    # TensorFlow settles its devices and its peers when it is first used, which checking the data does.
    with team.run_folder(output) as folder, hub_places.modules_in(folder.path), team.at_work(devices) as strategy:
        console.print(distribute.describe(strategy))
        run = _train(_resolved(spec, folder), folder, resume, console, team, strategy, cache_memory)
    return run if team.is_chief else None


def _train(
    spec: specs.RunSpec,
    folder: RunFolder,
    resume: bool,
    console: Console,
    team: Team,
    strategy: tf.distribute.Strategy,
    cache_memory: str,
) -> Run | None:
    data = None

    def begin() -> bool:
        nonlocal data
        folder.check_usable(spec, resume)
        if folder.is_trained:
            return False
        with stages.stage("check"):
            data = recorded(folder, spec) if folder.has_split else _load(spec, console)
        return True

    if not team.share(begin):
        console.print(f"{folder.path} is trained already")
        return Run(folder.path) if team.is_chief else None
    with _begun(spec, data, folder, team) as source:
        team.hand_out(source, folder)
    if not team.is_chief:
        # Texts are in no file of their own, so that the tables are read; of pictures it is enough that they are here.
        data = recorded(folder, spec, ("train", "val", "test") if card_of(spec, folder).task == "text" else ())
        _check_files(data)
    team.wait("data is on all machines")
    with strategy.scope():
        # Whatever a worker would find under the name of the weights, those of the chief are where all set out from. A
        # module came with the run folder, and of texts the vocabulary is in the file of the weights.
        card = card_of(spec, folder)
        is_told = not team.is_chief and card.scheme != "hub" and card.task == "image"
        built = dataclasses.replace(spec, weights="random", partial=False) if is_told else spec
        with stages.stage("build"):
            model = _build(built, data.classes, console, folder)
        if card.scheme != "hub":
            team.hand_out_weights(model)
        run = carry_out(model, data, spec, folder, console, cache_memory)
    if team.size > 1:
        # Loaded without the strategy: each worker judges its part by itself.
        with stages.stage("evaluate"):
            run.model = folder.load_model()
        run.evaluate_together(team)
    return run


def _check_files(data: Data) -> None:
    paths = [example.path for part in data.parts.values() for example in part if example.text is None]
    if missing := [path for path in paths if not path.is_file()]:
        raise TlkerasError(
            f"{len(missing)} of {len(paths)} files of the data are not on this machine, the first {missing[0]}: "
            f"all workers need the data under the same path"
        )


@contextlib.contextmanager
def _begun(spec: specs.RunSpec, data: Data | None, folder: RunFolder, team: Team) -> Iterator[RunFolder]:
    """Gives the folder as far as it has come; what a run is to begin with is written aside."""
    if folder.has_split or not team.is_chief:
        yield folder
        return
    with tempfile.TemporaryDirectory() as aside:
        record(RunFolder(aside), card_of(spec, folder), spec, data)
        yield RunFolder(aside)


def rehearse(
    spec: specs.RunSpec, console: Console, devices: str = "auto"
) -> tuple[specs.RunSpec, Data, list[trainable.Plan]]:
    """Does all that comes before training, writes and downloads nothing: the resolved spec, data and plans.

    No other worker is waited for.
    """
    settle(devices)
    with hub_places.without_downloads():
        spec = _resolved(spec)
        data = _load(spec, console)
        # The user's own files are read, to see whether they fit. A module shows its layers only when it is loaded, and
        # its weights come with it.
        is_fetched = spec.weights == "imagenet" and card_of(spec).scheme in ("keras", "pypi")
        built = dataclasses.replace(spec, weights="random") if is_fetched else spec
        model = _build(built, data.classes, console)
    plans = [trainable.plan(model, phase.trainable, spec.batch_norm) for phase in engine.phases(spec)]
    return spec, data, plans


def _resolved(spec: specs.RunSpec, folder: RunFolder | None = None) -> specs.RunSpec:
    """Fills in what a spec leaves to its card and makes paths absolute, so that it means the same from anywhere."""
    card = card_of(spec, folder)
    check_fits(spec, card.task)
    engines.check_installed(spec.engine)
    folders.limit()
    size = spec.image_size or (card.input_size if card.task == "image" else 0)
    changes = {"image_size": size}
    if spec.backbone.startswith(hub.SCHEME):
        changes["backbone"] = card.source
    if spec.weights not in ("imagenet", "random") and not Path(spec.weights).expanduser().is_file():
        raise TlkerasError(f"weights: imagenet, random or a file that exists. Received: {spec.weights!r}")
    return dataclasses.replace(absolute(spec), **changes)


def absolute(spec: specs.RunSpec) -> specs.RunSpec:
    """Makes the paths of a spec absolute, so that they mean the same in any process."""
    changes = {"data": sources.absolute(spec.data)}
    if spec.backbone.startswith(hub.SCHEME):
        changes["backbone"] = hub.SCHEME + hub_places.absolute(spec.backbone.removeprefix(hub.SCHEME))
    if spec.weights not in ("imagenet", "random"):
        changes["weights"] = str(Path(spec.weights).expanduser().absolute())
    if spec.card:
        changes["card"] = str(Path(spec.card).expanduser().absolute())
    if spec.data_dir:
        changes["data_dir"] = str(Path(spec.data_dir).expanduser().absolute())
    return dataclasses.replace(spec, **changes)


def _load(spec: specs.RunSpec, console: Console) -> Data:
    task = card_of(spec).task
    with consoles.bar(console, f"checking {task}s") as move:
        settings = {key: getattr(spec, key) for key in DATA[1:]}
        data = data_room.load(spec.data, task, **settings, progress=move)
    console.print(data.summary())
    for warning in data.warnings:
        console.print(f"warning: {warning}")
    return data


def _build(spec: specs.RunSpec, classes: list[str], console: Console, folder: RunFolder | None = None) -> keras.Model:
    engine.make_deterministic(spec.seed)
    show = (lambda loaded: console.print(str(loaded))) if spec.partial else None
    recipe = {**{key: getattr(spec, key) for key in RECIPE}, "backbone": card_of(spec, folder)}
    return builder.build(classes=classes, on_load=show, **recipe)
