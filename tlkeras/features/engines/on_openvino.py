"""OpenVINO: reads TensorFlow's graph by itself, and compiles it for the processor."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tlkeras.features.engines.graphs import Graph
from tlkeras.features.engines.kinds import Unsupported

_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}


def load(graph: Graph, precision: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Makes a forward pass of a traced model.

    Raises:
        Unsupported: OpenVINO cannot be loaded, or has no counterpart of something in the model.
    """
    try:
        import openvino
    except (ImportError, OSError) as error:
        raise Unsupported(str(error)) from error
    message, core = graph.serialized(), openvino.Core()
    options = {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "PERFORMANCE_HINT": "LATENCY",
        # Decoding images goes on beside it, on the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        with tempfile.TemporaryDirectory(prefix="tlkeras-") as folder:
            file = Path(folder, "graph.pb")
            file.write_bytes(message)
            compiled = core.compile_model(core.read_model(file), "CPU", options)
    except RuntimeError as error:
        raise Unsupported(str(error)) from error
    outputs = [compiled.output(name) for name in graph.output_names]
    request = compiled.create_infer_request()

    def run(batch: np.ndarray) -> list[np.ndarray]:
        results = request.infer([np.ascontiguousarray(batch, np.float32)], share_inputs=True)
        return [results[output].copy() for output in outputs]

    return run
