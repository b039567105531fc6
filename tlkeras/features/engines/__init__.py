"""The forward pass of the frozen part of a model, on the fastest engine that is installed and computes the same."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tlkeras.errors import TlkerasError, in_one_line, unknown_name
from tlkeras.features.engines import kinds, on_onnxruntime, on_openvino, on_tensorflow
from tlkeras.features.engines.graphs import Graph, trace
from tlkeras.features.engines.kinds import Engine, Forward, Parity, Unsupported, installed
from tlkeras.features.engines.parity import is_near, measure

__all__ = ["BATCH", "Engine", "Forward", "Graph", "Parity", "candidates", "check_installed", "choose", "installed"]
__all__ += ["make", "trace"]

# Rows in a batch: with more, what a layer computes no longer fits the processor's cache.
BATCH = 32

_NAMES = ("tensorflow", "openvino", "onnxruntime")
# The fastest first, as measured on processors with and without bfloat16.
_ORDER = (
    Engine("openvino", "bfloat16"),
    Engine("tensorflow", "bfloat16"),
    Engine("openvino"),
    Engine("onnxruntime"),
    Engine("tensorflow"),
)
# Eager layers are slow, and every row is hundreds to hundreds of thousands of numbers.
_ROWS = 4


def choose(
    frozen: keras.Model,
    requested: str,
    batch: np.ndarray,
    *,
    graph: Graph | None = None,
    exact: bool = False,
    folder: Path | None = None,
) -> Forward:
    """Makes the forward pass of a model on the fastest engine that gives what Keras itself gives.

    Args:
        frozen: Functional model of one input; it is left as it is, and what it learns later is not followed.
        requested: `auto`, `tensorflow`, `openvino` or `onnxruntime`.
        batch: What the check is made on: float32 RGB 0..255 `(n, height, width, 3)`, or `(n,)` texts.
        graph: The model as `trace` gives it, where that was done before.
        exact: float32 only.
        folder: Where a conversion that takes long is kept and found again; None keeps nothing.

    Raises:
        TlkerasError: The engine that was asked for by name is unknown or not installed, cannot take the model, or gives
            something else.
    """
    if requested not in ("auto", *_NAMES):
        raise unknown_name("engine", requested, ["auto", *_NAMES])
    check_installed(requested)
    graph = graph or trace(frozen)
    if graph.reference is None:
        rows = np.asarray(batch[:_ROWS])
        graph.reference = rows, _keras(frozen, rows)
    rows, reference = graph.reference
    failures = []
    for engine in candidates(requested, exact):
        try:
            run = _load(graph, engine, folder)
        except Unsupported as failure:
            failures.append(f"{engine}: {in_one_line(failure)}")
            continue
        parity = measure(run(rows), reference)
        # Nothing is left to turn to after the model's own engine in the model's own precision.
        is_last = requested == "auto" and engine == _ORDER[-1]
        if is_near(parity, engine, frozen) or is_last:
            return Forward(engine, parity, run)
        failures.append(f"{engine}: it computes something else ({parity})")
    raise TlkerasError(
        f"engine {requested} cannot compute the frozen part of this model ({'; '.join(failures)}): take engine auto"
    )


def make(graph: Graph, engine: Engine, folder: Path | None = None) -> Forward:
    """Makes the forward pass of a traced model on an engine that was chosen before, without another check.

    Raises:
        TlkerasError: The engine is not installed any more, or cannot take the model.
    """
    check_installed(engine.name)
    try:
        return Forward(engine, None, _load(graph, engine, folder))
    except Unsupported as failure:
        raise TlkerasError(f"engine {engine} cannot take this model: {in_one_line(failure)}") from failure


def check_installed(name: str) -> None:
    """Refuses an engine that is not there; `auto` always is.

    Raises:
        TlkerasError: It is not installed; the message has the pip command.
    """
    if name not in ("auto", *installed()):
        raise TlkerasError(f"engine {name} is not installed: pip install '{kinds.what_to_install(name)}'")


def candidates(requested: str, exact: bool) -> list[Engine]:
    """Lists what `choose` tries for a request, the fastest first; float32 alone where it is to be exact."""
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    if has_gpu and requested in ("auto", "tensorflow"):
        return [Engine("tensorflow")]
    here, bfloat16 = installed(), not exact and kinds.has_bfloat16()
    return [
        engine
        for engine in _ORDER
        if requested in ("auto", engine.name) and engine.name in here and (bfloat16 or engine.precision == "float32")
    ]


def _load(graph: Graph, engine: Engine, folder: Path | None):
    if engine.name != "tensorflow" and graph.function.inputs[0].dtype == tf.string:
        raise Unsupported("it takes no texts")
    if engine.name == "openvino":
        return on_openvino.load(graph, engine.precision)
    if engine.name == "onnxruntime":
        return on_onnxruntime.load(graph, engine.precision, folder)
    return on_tensorflow.load(graph, engine.precision)


def _keras(frozen: keras.Model, rows: np.ndarray) -> list[np.ndarray]:
    outputs = frozen(tf.constant(rows, frozen.inputs[0].dtype), training=False)
    return [tf.cast(output, tf.float32).numpy() for output in keras.tree.flatten(outputs)]
