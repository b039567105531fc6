"""Whether a forward pass gives what Keras gives: as near as float32 can be, or as bfloat16 can."""

from __future__ import annotations

from collections.abc import Sequence

import keras
import numpy as np

from tlkeras.features.engines.kinds import Engine, Parity

# Least cosine, and largest relative error.
_LIMITS = {"float32": (0.99999, 1e-3), "bfloat16": (0.995, 0.1)}


def measure(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> Parity:
    """Compares the outputs of a pass with those of Keras: arrays `(n, ...)` in the same order."""
    return Parity(
        cosine=min(_cosine(a, b) for a, b in zip(ours, theirs, strict=True)),
        error=max(_error(a, b) for a, b in zip(ours, theirs, strict=True)),
    )


def is_near(parity: Parity, engine: Engine, model: keras.Model) -> bool:
    """Says whether an engine is near enough; a model with mixed precision itself is no nearer to itself."""
    mixed = any(layer.compute_dtype in ("float16", "bfloat16") for layer in model.layers)
    cosine, error = _LIMITS["bfloat16" if mixed else engine.precision]
    return parity.cosine >= cosine and parity.error <= error


def _cosine(ours: np.ndarray, theirs: np.ndarray) -> float:
    a, b = (np.reshape(x, (len(x), -1)).astype("float64") for x in (ours, theirs))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    same = np.all(a == b, axis=1)
    # Rows of zeros have no direction, and may well be equal.
    return float(np.where(same, 1.0, np.sum(a * b, axis=1) / np.where(lengths > 0, lengths, np.inf)).min())


def _error(ours: np.ndarray, theirs: np.ndarray) -> float:
    a, b = ours.astype("float64"), theirs.astype("float64")
    if np.array_equal(a, b):
        return 0.0
    return float(np.linalg.norm(a - b) / (np.linalg.norm(b) or 1.0))
