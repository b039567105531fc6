"""Decides whether the frozen part of a model is computed once, and computes it: for each image, by its content."""

from __future__ import annotations

import itertools
import json
import math
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

from tlkeras import __version__, consoles, sizes, stages
from tlkeras.backbones.text import takes_texts
from tlkeras.data import pipeline
from tlkeras.data.dataset import Example
from tlkeras.errors import TlkerasError
from tlkeras.features import engines
from tlkeras.features.dataset import Table
from tlkeras.features.frontier import Split, split
from tlkeras.features.store import Store, limit
from tlkeras.files import atomic_write
from tlkeras.places import cache_folder
from tlkeras.spec import RunSpec

# Views of each image where nobody says how many, and the epochs from which on they are worth their passes.
_VIEWS, _WORTH = 4, 8
# Images that an engine is compared with TensorFlow on.
_COMPARED = 8


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
    if spec.augment != "none" and not spec.views and epochs < _WORTH:
        return Way(None, reason=f"{epochs} epochs of new augmentations are computed as they come")
    found = split(model)
    if found is None:
        return Way(None, reason="nothing before the first layer that trains is frozen")
    views = 1 if spec.augment == "none" else spec.views or _VIEWS
    if reason := _too_large(found, spec.features, train * views + others):
        return Way(None, reason=reason)
    return Way(found, views)


def _too_large(found: Split, features: str, rows: int) -> str:
    shapes = [tensor.shape[1:] for tensor in found.frozen.outputs]
    if any(side is None for shape in shapes for side in shape):
        return "what crosses the frontier has no fixed size"
    needed = rows * sum(math.prod(shape) for shape in shapes) * np.dtype(_stored(features)).itemsize
    folder = next(path for path in (cache_folder(), *cache_folder().parents) if path.exists())
    room = min(limit(), shutil.disk_usage(folder).free // 2)
    if needed <= room:
        return ""
    return f"the features would take {needed / 1e9:.1f} GB of the {room / 1e9:.1f} GB that the cache has room for"


def _stored(features: str) -> str:
    return "float32" if features == "float32" else "float16"


class Frozen:
    """The frozen part of a model, computed where it was not computed before.

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
            "versions": {**engines.installed(), "tlkeras": __version__},
            **found.fingerprint(),
        }
        self._forward: engines.Forward | None = None

    def table(self, examples: Sequence[Example], classes: Sequence[str], augment: str = "none", views: int = 1) -> Table:
        """Gives the stored features of examples, and computes those that are missing.

        Raises:
            TlkerasError: The engine cannot compute this model.
        """
        names = [
            f"{example.sha256}{f'.{augment}.{view}' if augment != 'none' else ''}"
            for example in examples
            for view in range(views)
        ]
        with Store.open(self._about, self._kinds) as store:
            missing = store.missing(names)
            if missing:
                self._compute(store, [(examples[i // views], i % views, names[i]) for i in missing], augment)
            self._tell(len(names), len(missing))
            with stages.stage("features"):
                rows = store.rows(names, self._memory)
        labels = {name: index for index, name in enumerate(classes)}
        return Table(
            rows, np.array([labels[e.label] for e in examples], np.int32), views, self._dtypes, len(classes)
        )

    def _compute(self, store: Store, wanted: Sequence[tuple[Example, int, str]], augment: str) -> None:
        names = iter([name for _, _, name in wanted])
        batches = pipeline.view_set([(e, view) for e, view, _ in wanted], self._size, engines.BATCH, augment)
        with consoles.bar(self._console, "features") as move:
            done = 0
            for batch in _timed(batches.as_numpy_iterator()):
                with stages.stage("features"):
                    forward = self._forward or self._choose(store, batch)
                    store.add(list(itertools.islice(names, len(batch))), forward(batch))
                done += len(batch)
                move(done, len(wanted))
            with stages.stage("features"):
                store.flush()

    def _choose(self, store: Store, batch: np.ndarray) -> engines.Forward:
        """Chooses the engine, or takes that which computed the rows that are there."""
        file = store.folder / "engine.json"
        try:
            chosen = engines.Engine(**json.loads(file.read_bytes()))
            self._forward = engines.make(self._split.frozen, chosen, store.folder)
        except (OSError, ValueError, TypeError, TlkerasError):
            self._forward = engines.choose(
                self._split.frozen, self._engine, batch[:_COMPARED], exact=self._exact, folder=store.folder
            )
            atomic_write(file, json.dumps({"name": self._forward.engine.name, "precision": self._forward.engine.precision}))
        return self._forward

    def _tell(self, rows: int, computed: int) -> None:
        if not computed:
            self._console.print(f"features: {rows:,} computed before")
            return
        parity = self._forward.parity
        compared = f" (against TensorFlow: cosine {parity.cosine:.5f}, error {parity.error:.1e})" if parity else ""
        before = f", {rows - computed:,} before" if rows > computed else ""
        self._console.print(f"features: {computed:,} computed on {self._forward.engine}{compared}{before}")


def _timed(batches: Iterator[np.ndarray]) -> Iterator[np.ndarray]:
    """Takes the time that is spent waiting for images to be decoded."""
    while True:
        with stages.stage("decode"):
            batch = next(batches, None)
        if batch is None:
            return
        yield batch


def logits(model: keras.Model, examples: Sequence[Example], classes: Sequence[str], batch_size: int, console: Console):
    """Gives the logits `(count, classes)` of a model in float32, its frozen part taken from the store.

    Both parts are computed by TensorFlow in float32. None where nothing is frozen, or it cannot be stored.
    """
    found = split(model)
    if found is None or _too_large(found, "float32", len(examples)):
        return None
    frozen = Frozen(found, model, engine="tensorflow", features="float32", memory=sizes.memory_budget(""), console=console)
    table = frozen.table(examples, classes)
    parts = []
    for begin in range(0, len(examples), batch_size):
        taken = [tf.constant(part) for part in table.rows.take(np.arange(begin, min(begin + batch_size, len(examples))))]
        parts.append(found.rest(taken[0] if len(taken) == 1 else tuple(taken), training=False).numpy())
    return np.concatenate(parts)
