"""The whole job as one object: train, evaluate, report and export, from a run folder that outlives the process."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from tlkeras import consoles, doubt, stages, trainable
from tlkeras import data as data_room
from tlkeras import spec as specs
from tlkeras.backbones import hub
from tlkeras.backbones.text import takes_texts
from tlkeras.data import sources
from tlkeras.data.check import still_readable
from tlkeras.data.dataset import Data, Example
from tlkeras.data.unlabelled import unlabelled
from tlkeras.engine import train as engine
from tlkeras.engine.runs import RunFolder
from tlkeras.engine.team import Team
from tlkeras.errors import TlkerasError
from tlkeras.evaluate import Evaluation, evaluate, logits_of
from tlkeras.export import savedmodel
from tlkeras.export.examples import spread
from tlkeras.features import prepare as features
from tlkeras.records import RECIPE, card_of, check_fits, record, recorded

# Test examples on which an export is compared with its model.
_COMPARED = 64


class Run:
    """A run and its folder: made by `tlkeras.train`, or opened again by the folder's path.

    Attributes:
        folder: The run folder.
        spec: Its spec.
        judged: What a team found when it judged the model.
        watch: How long each stage took of what this process did, where it trained; else None.

    Raises:
        TlkerasError: The folder holds no run.
    """

    def __init__(self, path: str | os.PathLike):
        self.folder = RunFolder(path)
        self.spec = self.folder.read_spec()
        self.judged: Evaluation | None = None
        self.watch = stages.current()

    @functools.cached_property
    def model(self) -> keras.Model:
        """The trained model, a plain `keras.Model`: that of the epoch with the lowest validation loss."""
        return self.folder.load_model()

    @functools.cached_property
    def data(self) -> Data:
        """The data of the run, with the split that it recorded. Only the test part need be there as it was."""
        return recorded(self.folder, self.spec, verified=("test",))

    @property
    def history(self) -> keras.callbacks.History:
        """What one `fit` would have returned: the figures of each epoch, over all phases."""
        history, rows = keras.callbacks.History(), self.folder.read_history()
        history.epoch = [row["epoch"] - 1 for row in rows]
        history.history = {key: [row[key] for row in rows] for key in rows[0] if key not in ("epoch", "phase")}
        return history

    def evaluate(
        self, data: str | os.PathLike | None = None, *, console: Console | None = None, **options
    ) -> Evaluation:
        """Judges the model on the run's test part, or on other data, and writes the metrics into the run folder.

        Args:
            data: A data source, of which the test part is used, or all where it has none. The run's own test part
                where not given.
            console: Where progress is shown; standard output where not given.
            **options: `path_column`, `label_column`, `text_column`, `data_dir` and `download` of that data, as in
                `tlkeras.data.load`; those of the run where not given.

        Raises:
            TlkerasError: The data has classes that the model does not know, or nothing that can be used.
        """
        data, console = None if data is None else os.fspath(data), console or consoles.make()
        examples = self.data.parts["test"] if data is None else self._others(data, console, options)
        answer = None if data or self.spec.features == "off" else functools.partial(features.logits, console=console)
        judged = self._judge(examples, Path(data or self.data.root), answer=answer)
        self.folder.write_metrics(judged.to_dict() | ({} if data else self._stages() | self._of_exports()), data)
        return judged

    def _of_exports(self) -> dict:
        """Gives what exports wrote into the metrics, which judging the model again leaves as it is."""
        try:
            return {key: value for key, value in self.folder.read_metrics().items() if key in doubt.FIGURES}
        except TlkerasError:
            return {}

    def evaluate_together(self, team: Team) -> None:
        """Judges the model on the run's test part, each worker a share of it, and leaves the outcome in `judged`."""
        self.judged = self._judge(self.data.parts["test"], self.data.root, team)
        self.folder.write_metrics(self.judged.to_dict() | self._stages())

    def write_stages(self) -> None:
        """Adds to the metrics of the run how long its stages took until now."""
        metrics = self.folder.read_metrics()
        if metrics | self._stages() != metrics:
            self.folder.write_metrics(metrics | self._stages())

    @functools.cached_property
    def _taken_before(self) -> dict[str, float]:
        """The seconds of stages that another process wrote down."""
        try:
            return self.folder.read_metrics().get("stages", {})
        except TlkerasError:
            return {}

    def _stages(self) -> dict[str, dict[str, float]]:
        """Gives the entry `stages` of the metrics: each stage as it was when it was done first, and the sum."""
        seconds, before = self.watch.seconds if self.watch else {}, self._taken_before
        if before:
            seconds = {name: value for name, value in seconds.items() if name not in ("start", "other")}
        seconds = {name: value for name, value in (seconds | before).items() if name != "total"}
        return {"stages": seconds | {"total": round(sum(seconds.values()), 3)}} if seconds else {}

    def _judge(self, examples: Sequence[Example], root: Path, team: Team | None = None, answer=None) -> Evaluation:
        files = [example.path for example in examples if example.text is None]
        with stages.recorded(self.watch), stages.stage("evaluate"), still_readable(files, root):
            return evaluate(self.model, examples, self.spec.batch_size, seed=self.spec.seed, team=team, answer=answer)

    def _others(self, data: str, console: Console, options: dict) -> list[Example]:
        task = card_of(self.spec, self.folder).task
        with consoles.bar(console, f"checking {task}s") as move:
            options = {key: options.get(key, getattr(self.spec, key)) for key in sources.OPTIONS}
            examples, excluded = data_room.load_all(data, task, progress=move, **options)
        for left_out in excluded:
            console.print(f"left out: {left_out.name}: {left_out.reason}")
        trained_on = {example.sha256 for example in recorded(self.folder, self.spec, ()).parts["train"]}
        if known := sum(example.sha256 in trained_on for example in examples):
            console.print(f"warning: the run was trained on {known} of these {len(examples)} {task}s")
        return examples

    def report(self, judged: Evaluation) -> Path:
        """Writes `report.html` of the run: figures, curves, confusions and the worst mistakes. Gives its path."""
        with stages.recorded(self.watch), stages.stage("report"):
            # Brings matplotlib along.
            from tlkeras import report

            history = self.folder.read_history()
            report.write(
                self.folder.report_file,
                title=f"{self.spec.backbone} on {self.spec.data}",
                spec=self.spec.to_toml(),
                history=self.history.history,
                fine_tuning_from=next((row["epoch"] for row in history if row["phase"] > 1), None),
                evaluation=judged,
                data=self.data,
            )
        return self.folder.report_file

    def export(
        self,
        folder: str | os.PathLike | None = None,
        *,
        calibrate: bool = False,
        unknown: str | None = None,
        false_alarm_rate: float = 0.05,
        outliers: str | os.PathLike | None = None,
        max_pixels: int | None = None,
        keep: int | None = None,
        proven: bool = True,
        pruned: dict | None = None,
        console: Console | None = None,
    ) -> savedmodel.Exported:
        """Writes the next numbered SavedModel, compared with the model; figures stand in the metrics of both.

        Args:
            folder: Folder of the numbered versions; `export/` of the run where not given.
            calibrate: Fit a temperature on the validation part, which makes the scores as high as they are often right.
            unknown: Tell inputs that are none of the classes by this score, `energy` or `max-softmax`.
            false_alarm_rate: Share of the validation part that is then taken for unknown.
            outliers: Folder of images, or file of a text a line, that are none of the classes, to judge that by.
            max_pixels: The most pixels that a served picture may have: 64,000,000 where not given.
            keep: How many versions stay in the folder; all of them where not given.
            proven: Make all checks of `tlkeras serve-check` before it counts.
            pruned: Figures of the pruning, where the model was pruned since: the export then has metrics of its own.
            console: Where progress is shown; standard output where not given.

        Raises:
            TlkerasError: The answers differ by more than 1e-4, a setting is not legal, or nothing can be written.
        """
        if max_pixels is not None and self.data.task == "text":
            raise TlkerasError(f"max_pixels is for images, and the run is of texts. Received: {max_pixels:,}")
        settings = savedmodel.Settings() if max_pixels is None else savedmodel.Settings(max_pixels)
        if outliers is not None:
            outliers = unlabelled(Path(outliers), self.data.task, say=(console or consoles.make()).print)
        wanted = doubt.Wanted(calibrate, unknown, false_alarm_rate, outliers)
        with stages.recorded(self.watch), stages.stage("export"):
            figures = {}
            if calibrate or unknown:
                data = recorded(self.folder, self.spec, ("val", "test"))
                temperature, threshold, figures = doubt.find(wanted, data, functools.partial(self._logits, console))
                settings = dataclasses.replace(settings, temperature=temperature, unknown=threshold)
            metrics = {k: v for k, v in self.folder.read_metrics().items() if k not in ("stages", *doubt.FIGURES)}
            if pruned:
                metrics = {**self._judge(self.data.parts["test"], self.data.root).to_dict(), "pruned": pruned}
            exported = savedmodel.export(
                self.model,
                Path(folder or self.folder.exports),
                [e.path if e.text is None else e.text for e in spread(self.data.parts["test"], _COMPARED)],
                settings=settings,
                metadata={"metrics": metrics | figures, "data": {"sha256": self.folder.data_hash()}},
                keep=keep,
                proven=proven,
            )
        if figures and not pruned:
            version = {"version": int(exported.path.name)}
            self.folder.add_metrics({name: figures[name] | version for name in figures})
        return dataclasses.replace(exported, figures=figures)

    def _logits(self, console: Console | None, examples: Sequence[Example]) -> np.ndarray:
        # What is no part of the data is asked for once: nothing of it is kept.
        keeps = self.spec.features != "off" and examples[0].label
        answer = functools.partial(features.logits, console=console or consoles.make()) if keeps else None
        return logits_of(self.model, examples, self.spec.batch_size, answer)


def train(
    model: keras.Model,
    data: Data,
    *,
    output: str | os.PathLike,
    resume: bool = False,
    console: Console | None = None,
    cache_memory: str = "",
    **settings,
) -> Run:
    """Trains a model made by `tlkeras.build` and keeps everything about it in a run folder.

    Training is deterministic for a seed, ends with the weights of the epoch that has the lowest validation loss, and
    goes on after its last finished epoch with `resume`.

    Args:
        model: The model; what it has set to train trains in the first phase.
        data: Labelled images or texts in three parts, from `tlkeras.data.load`.
        output: The run folder.
        resume: Continue the run in the folder, where there is one.
        console: Where progress is shown; standard output where not given.
        cache_memory: Memory for what frozen layers give, such as `2GB`; what is beyond it lies on disk. A quarter of
            what is free where not given.
        **settings: Settings of training, by the names of `tlkeras.RunSpec`: `epochs`, `batch_size`, `learning_rate`,
            `fine_tune`, …

    Raises:
        TlkerasError: A setting is not legal, or the folder cannot be used.
    """
    if fixed := sorted(set(settings) & {*RECIPE, *data.settings}):
        raise TlkerasError(f"{', '.join(fixed)}: decided where the model was built or the data loaded, not in train")
    recipe = trainable.recipe(model)
    spec = specs.make({key: recipe[key] for key in RECIPE}, data.settings, settings)
    task = "text" if takes_texts(model) else "image"
    if task != data.task:
        raise TlkerasError(f"the model takes {task}s, the data is one of {data.task}s")
    check_fits(spec, task)
    classes = model.get_layer("logits").classes
    if classes != data.classes:
        raise TlkerasError(f"the model has other classes than the data: {classes} against {data.classes}")
    if not trainable.plan(model, spec.trainable, spec.batch_norm).is_applied(model):
        raise TlkerasError(
            f"other layers are set to train than those of {spec.trainable!r}, so that a repeated run would differ: set "
            f"them with tlkeras.trainable.plan(model, PATTERNS).apply(model)"
        )
    folder = RunFolder(output)
    with stages.recorded(), folder.held():
        folder.check_usable(spec, resume)
        if folder.has_split and recorded(folder, spec).parts != data.parts:
            raise TlkerasError(f"the data is split otherwise than {folder.path} recorded; take tlkeras.Run(...).data")
        engine.make_deterministic(spec.seed)
        return carry_out(model, data, spec, folder, console or consoles.make(), cache_memory)


def carry_out(
    model: keras.Model, data: Data, spec: specs.RunSpec, folder: RunFolder, console: Console, cache_memory: str = ""
) -> Run:
    """Trains a model as a spec says, in a folder that this process holds, from where the folder stands."""
    engine.check_phases(model, spec)
    if not folder.has_split:
        record(folder, trainable.card(model), spec, data)
        if data.excluded:
            console.print(f"what was left out is listed in {folder.path / 'excluded.csv'}")
    hub.keep(model, folder.path)
    engine.fit(model, data, spec, folder, console, cache_memory)
    run = Run(folder.path)
    run.model, run.data = model, data
    return run
