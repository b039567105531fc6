"""ONNX Runtime: TensorFlow's graph is converted by tf2onnx, which takes seconds, so that the result may be kept."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from tlkeras.features.engines.graphs import Graph
from tlkeras.features.engines.kinds import Unsupported
from tlkeras.files import atomic_write

# The newest that tf2onnx 1.17 writes.
_OPSET = 18


def load(graph: Graph, precision: str, folder: Path | None) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Makes a forward pass of a traced model.

    Args:
        graph: The model.
        precision: `float32`.
        folder: Where the conversion is kept and found again; None keeps nothing.

    Raises:
        Unsupported: ONNX Runtime or tf2onnx cannot be loaded, or has no counterpart of something in the model.
    """
    if precision != "float32":
        raise Unsupported("its convolutions are float32 on a processor")
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as states
    except (ImportError, OSError) as error:
        raise Unsupported(str(error)) from error
    failures = (states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf)
    failures = (*failures, states.NotImplemented, states.RuntimeException)
    message = graph.serialized()
    kept = folder and folder / f"{hashlib.sha256(message).hexdigest()[:32]}-{_OPSET}.onnx"

    def start(model):
        return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])

    try:
        session = start(kept.read_bytes() if kept else b"")
    except (*failures, OSError):
        # Nothing is kept, or it is damaged.
        model = _converted(graph)
        try:
            session = start(model)
        except failures as error:
            raise Unsupported(str(error)) from error
        if kept:
            atomic_write(kept, model)
    # The names alone: with the graph, all weights would be kept once more.
    given, outputs = graph.input_name, graph.output_names
    return lambda batch: session.run(outputs, {given: np.asarray(batch, np.float32)})


def _converted(graph: Graph) -> bytes:
    try:
        import tf2onnx
    except (ImportError, OSError) as error:
        raise Unsupported(str(error)) from error
    names = {"input_names": [graph.input_name], "output_names": graph.output_names}
    try:
        with _quiet():
            model, _ = tf2onnx.convert.from_graph_def(graph.definition, opset=_OPSET, **names)
            content = model.SerializeToString()
    # It has no error of its own for what it cannot convert: these were seen, or are raised in its source.
    except (RuntimeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise Unsupported(f"{type(error).__name__}: {error}") from error
    return content


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
