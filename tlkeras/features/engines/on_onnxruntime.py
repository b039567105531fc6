"""ONNX Runtime: TensorFlow's graph is converted by tf2onnx, which takes seconds, so that the result may be kept."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tlkeras.features.engines.graphs import Graph
from tlkeras.features.engines.kinds import Unsupported
from tlkeras.files import atomic_write

if TYPE_CHECKING:
    import onnx
    import onnxruntime

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
    message = graph.serialized()
    kept = folder and folder / f"{hashlib.sha256(message).hexdigest()[:32]}-{_OPSET}.onnx"
    try:
        session = start(kept.read_bytes() if kept else b"")
    except (Refused, OSError):
        # Nothing is kept, or it is damaged.
        model = converted(graph).SerializeToString()
        session = start(model)
        if kept:
            atomic_write(kept, model)
    # The names alone: with the graph, all weights would be kept once more.
    given, outputs = graph.input_name, graph.output_names
    return lambda batch: session.run(outputs, {given: np.asarray(batch, np.float32)})


class Refused(Unsupported):
    """ONNX Runtime cannot run a model that it was given."""


def start(model: bytes, threads: int = 0) -> onnxruntime.InferenceSession:
    """Has ONNX Runtime load a model, for the processor.

    Args:
        model: The model.
        threads: How many it may use; 0 is what it takes by itself.

    Raises:
        Unsupported: ONNX Runtime cannot be loaded.
        Refused: It cannot load the model.
    """
    try:
        import onnxruntime
        from onnxruntime.capi import onnxruntime_pybind11_state as states
    except (ImportError, OSError) as error:
        raise Unsupported(str(error)) from error
    failures = (states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf)
    failures = (*failures, states.NotImplemented, states.RuntimeException)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except failures as error:
        raise Refused(str(error)) from error


def converted(graph: Graph, names: Mapping[str, str] | None = None) -> onnx.ModelProto:
    """Has tf2onnx convert a traced model.

    Args:
        graph: The model.
        names: Other names for its tensors.

    Raises:
        Unsupported: tf2onnx cannot be loaded, or has no counterpart of something in the model.
    """
    try:
        import tf2onnx
    except (ImportError, OSError) as error:
        raise Unsupported(str(error)) from error
    ends = {"input_names": [graph.input_name], "output_names": graph.output_names}
    try:
        with _quiet():
            model, _ = tf2onnx.convert.from_graph_def(graph.definition, opset=_OPSET, tensors_to_rename=names, **ends)
    # It has no error of its own for what it cannot convert: these were seen, or are raised in its source.
    except (RuntimeError, ValueError, KeyError, AttributeError, NotImplementedError) as error:
        raise Unsupported(f"{type(error).__name__}: {error}") from error
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    level = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(level)
