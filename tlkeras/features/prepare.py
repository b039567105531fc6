"""Decides whether the frozen part of a model is computed once, and computes it: for each image, by its content."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
from rich.console import Console

from tlkeras import __version__, consoles, sizes, stages
from tlkeras.backbones.text import takes_texts
from tlkeras.data import pipeline
from tlkeras.data.dataset import Example
from tlkeras.errors import TlkerasError
from tlkeras.features import engines
from tlkeras.features.dataset import Table, given
from tlkeras.features.folders import limit, root
from tlkeras.features.frontier import Split, split
from tlkeras.features.store import Rows, Store
from tlkeras.files import atomic_write
from tlkeras.spec import RunSpec

# Views of each image where nobody says how many, and the epochs from which on they are worth their passes.
_VIEWS, _WORTH = 4, 8


@dataclass(frozen=True)
class Way:
    """How the frozen part of a phase is computed.

    Attributes:
        split: The model in two parts; None where all of it is computed in every epoch.
        views: Augmented versions of each training image.
        reason: Why so, for the user; may be empty.
    """

    split: Split | None
    views: int = 1
    reason: str = ""


def choose_way(model: keras.Model, spec: RunSpec, epochs: int, train: int, others: int) -> Way:
    """Chooses between features that are computed once and the plain way.

    Args:
        model: With the plan of the phase applied.
        spec: The spec.
        epochs: Epochs of the phase.
        train: Number of examples to train on.
        others: Number of other examples.

    Raises:
        TlkerasError: The spec asks for what only features make possible, and they cannot be had.
    """
    way = _way(model, spec, epochs, train, others)
    if way.split is None and spec.mixup:
        raise TlkerasError(f"mixup mixes the features of a frozen part that is computed once, and here {way.reason}")
    return way


def _way(model: keras.Model, spec: RunSpec, epochs: int, train: int, others: int) -> Way:
    if spec.features == "off":
        return Way(None, reason="features are off")
    if model.distribute_strategy.num_replicas_in_sync > 1:
        return Way(None, reason="several devices compute the frozen part in every epoch")
    if spec.augment != "none" and not spec.views and not spec.mixup and epochs < _WORTH:
        return Way(None, reason=f"{epochs} epochs of new augmentations are computed as they come")
    found = split(model)
    if found is None:
        return Way(None, reason="nothing before the first layer that trains is frozen")
    views = 1 if spec.augment == "none" else spec.views or _VIEWS
    if reason := _why_not_kept(found, spec.features, train * views + others):
        return Way(None, reason=reason)
    return Way(found, views)


def _why_not_kept(found: Split, features: str, rows: int) -> str:
    shapes = [tensor.shape[1:] for tensor in found.frozen.outputs]
    if any(side is None for shape in shapes for side in shape):
        return "what crosses the frontier has no fixed size"
    try:
        root().mkdir(parents=True, exist_ok=True)
        room = min(limit(), shutil.disk_usage(root()).free // 2)
    except OSError as error:
        return f"features cannot be kept in {root()}: {error.strerror}"
    if not os.access(root(), os.W_OK):
        return f"features cannot be kept in {root()}: it cannot be written to"
    needed = rows * sum(map(math.prod, shapes)) * np.dtype(_stored(features)).itemsize
    too_large = f"the features would take {sizes.words(needed)}, and the cache has room for {sizes.words(room)}"
    return too_large if needed > room else ""


def _stored(features: str) -> str:
    return "float32" if features == "float32" else "float16"


@dataclass(frozen=True)
class Part:
    """Examples, of each of which there are one or more versions.

    Attributes:
        examples: The examples.
        augment: How the versions are made: `none`, `light` or `strong`.
        views: How many there are of each.
    """

    examples: Sequence[Example]
    augment: str = "none"
    views: int = 1

    @property
    def versions(self) -> list[tuple[Example, int]]:
        """Pairs of an example and the number of its version, version after version of each."""
        return [(example, view) for example in self.examples for view in range(self.views)]

    @functools.cached_property
    def names(self) -> list[str]:
        """Names of the rows of the versions, by the content of the examples."""
        if self.augment == "none":
            return [example.sha256 for example in self.examples]
        return [f"{example.sha256}.{self.augment}.{view}" for example, view in self.versions]


class Frozen:
    """The frozen part of a model, computed where it was not computed before; what it gives is good until it is closed.

    Args:
        found: The split.
        model: The model that was split.
        engine: As the setting.
        features: As the setting: the type that rows are kept in.
        exact: Compute in float32 whatever the rows are kept in.
        memory: Bytes that rows may take in memory.
        console: Where progress is shown.
    """

    def __init__(
        self,
        found: Split,
        model: keras.Model,
        *,
        engine: str,
        features: str,
        memory: int,
        console: Console,
        exact: bool = False,
    ):
        self._split, self._engine, self._memory, self._console = found, engine, memory, console
        self._exact = exact or features == "float32"
        self._size = None if takes_texts(model) else model.input_shape[1:3]
        self._dtypes = [tensor.dtype for tensor in found.frozen.outputs]
        self._kinds = [(tuple(tensor.shape[1:]), _stored(features)) for tensor in found.frozen.outputs]
        self._about = {
            "model": model.name,
            "image_size": self._size and list(self._size),
            "frontier": found.frontier,
            "dtype": _stored(features),
            "engine": engine,
            "precision": "float32" if self._exact else "any",
            "versions": {"tlkeras": __version__}
            | {name: version for name, version in engines.installed().items() if engine in ("auto", name)},
            **found.fingerprint(),
        }
        self._forward: engines.Forward | None = None
        self._store = Store.open(self._about, self._kinds)

    def close(self) -> None:
        """Lets go of the stored rows."""
        self._store.close()

    @property
    def rest(self) -> keras.Model:
        """The part of the model that takes the rows."""
        return self._split.rest

    def table(self, part: Part, classes: Sequence[str]) -> Table:
        """Gives the rows of a part that was computed, with its labels."""
        labels = {name: index for index, name in enumerate(classes)}
        numbers = np.array([labels[example.label] for example in part.examples], np.int32)
        return Table(self.rows(part), numbers, part.views, self._dtypes, len(classes))

    def rows(self, part: Part) -> Rows:
        """Gives the rows of a part that was computed, view after view of each example."""
        with stages.stage("features"):
            return self._store.rows(part.names, self._memory)

    def compute(self, *parts: Part, check: Callable[[], None] = lambda: None) -> None:
        """Computes the rows of parts that are missing, in one pass for all that are augmented alike.

        Args:
            parts: The parts.
            check: Called after each batch; what it raises ends the pass.

        Raises:
            TlkerasError: The engine cannot compute this model.
        """
        computed = 0
        for augment in sorted({part.augment for part in parts}):
            alike = [part for part in parts if part.augment == augment]
            names = [name for part in alike for name in part.names]
            wanted = [version for part in alike for version in part.versions]
            with stages.stage("features"):
                missing = self._store.missing(names)
            if missing:
                self._pass([wanted[i] for i in missing], [names[i] for i in missing], augment, check)
                computed += len(missing)
        self._tell(sum(len(part.names) for part in parts), computed)
        # While the rest trains, its memory is wanted.
        self._forward = None

    def _pass(self, wanted: Sequence[tuple[Example, int]], names: Sequence[str], augment: str, check) -> None:
        batches, done = pipeline.view_set(wanted, self._size, engines.BATCH, augment), 0
        with consoles.bar(self._console, "features") as move:
            for batch in _timed(batches.as_numpy_iterator()):
                with stages.stage("features"):
                    forward = self._forward or self._choose(batch)
                    self._store.add(names[done : done + len(batch)], forward(batch))
                done += len(batch)
                move(done, len(wanted))
                check()
            with stages.stage("features"):
                self._store.flush()

    def _choose(self, batch: np.ndarray) -> engines.Forward:
        """Chooses the engine, or takes that which computed the rows that are there."""
        file, frozen = self._store.folder / "engine.json", self._split.frozen
        graph = _traced(frozen, self._about["weights"] + self._about["signature"])
        try:
            chosen = engines.Engine(**json.loads(file.read_bytes()))
            if chosen not in engines.candidates(self._engine, self._exact):
                raise ValueError(chosen)
            self._forward = engines.make(graph, chosen, self._store.folder)
        except (OSError, ValueError, TypeError, TlkerasError):
            self._forward = engines.choose(
                frozen, self._engine, batch, graph=graph, exact=self._exact, folder=self._store.folder
            )
            atomic_write(file, json.dumps(dataclasses.asdict(self._forward.engine)))
        self._told = str(self._forward.engine)
        if parity := self._forward.parity:
            self._told += f" (against TensorFlow: cosine {parity.cosine:.5f}, error {parity.error:.1e})"
        return self._forward

    def _tell(self, rows: int, computed: int) -> None:
        if computed:
            before = f", {rows - computed:,} before" if rows > computed else ""
            self._console.print(f"features: {computed:,} computed on {self._told}{before}")
        else:
            self._console.print(f"features: {rows:,} computed before")


# The last model that was traced: the test part is computed by the graph of the training part, in another precision.
_LAST: dict[str, engines.Graph] = {}


def _traced(frozen: keras.Model, key: str) -> engines.Graph:
    if key not in _LAST:
        _LAST.clear()
        _LAST[key] = engines.trace(frozen)
    return _LAST[key]


def _timed(batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Takes the time that is spent waiting for images to be decoded."""
    while True:
        with stages.stage("decode"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def logits(model: keras.Model, examples: Sequence[Example], *, console: Console) -> np.ndarray | None:
    """Gives the logits `(count, classes)`, by TensorFlow in float32; what is frozen is computed once for each image.

    Args:
        model: Computes in float32 throughout.
        examples: What it is to answer.
        console: Where progress is shown.

    Returns:
        None where nothing is frozen, or it cannot be stored.
    """
    found = split(model)
    if found is None or _why_not_kept(found, "float32", len(examples)):
        return None
    frozen = Frozen(found, model, engine="tensorflow", features="float32", memory=0, console=console, exact=True)
    with contextlib.closing(frozen):
        frozen.compute(part := Part(examples))
        rows = frozen.rows(part)
        parts = np.split(np.arange(len(rows)), range(engines.BATCH, len(rows), engines.BATCH))
        return np.concatenate([found.rest(given(rows.take(part)), training=False).numpy() for part in parts])
