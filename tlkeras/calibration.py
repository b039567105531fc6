"""Calibration: probabilities that are as high as the model is often right. Guo et al., "On Calibration of Modern Neural
Networks", 2017.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

from tlkeras.metrics import cross_entropy

_BINS = 15
# Beyond these, probabilities are all but equal, or all but 0 and 1.
_LOWEST, _HIGHEST = 0.05, 20.0


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Finds the number that logits are best divided by: that of the least cross-entropy, from 0.05 to 20.

    Args:
        logits: Shape `(count, classes)`.
        labels: Index of the true class of each example.
    """
    logits = logits.astype(np.float64)

    def loss(logarithm: float) -> float:
        return cross_entropy(logits / np.exp(logarithm), labels).mean()

    found = minimize_scalar(loss, bounds=(np.log(_LOWEST), np.log(_HIGHEST)), method="bounded", options={"xatol": 1e-4})
    return float(np.exp(found.x))


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean distance, 0..1, of the highest probability from the share of right answers, over 15 bins of equal width.

    Args:
        probabilities: Shape `(count, classes)`.
        labels: Index of the true class of each example.
    """
    confidence, right = probabilities.max(axis=-1), probabilities.argmax(axis=-1) == labels
    bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=_BINS)
    return float(np.abs(gaps).sum() / len(labels))
