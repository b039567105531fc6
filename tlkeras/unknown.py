"""Telling inputs that are none of the classes: a score that is low for them, and below which threshold."""

from __future__ import annotations

import dataclasses

import numpy as np

from tlkeras.metrics import softmax

SCORES = ("energy", "max-softmax")


@dataclasses.dataclass(frozen=True)
class Threshold:
    """Below which score an input counts as none of the classes.

    Args:
        score: One of `SCORES`.
        threshold: The score below which an input is unknown.
        false_alarm_rate: Share of the examples it was chosen on, all of them of known classes, that are below it.
    """

    score: str
    threshold: float
    false_alarm_rate: float

    def tell(self, logits: np.ndarray, temperature: float = 1.0) -> np.ndarray:
        """Says of inputs, by their logits `(count, classes)`, which are unknown: bool `(count,)`."""
        return scores(logits, self.score, temperature) < self.threshold


def scores(logits: np.ndarray, score: str, temperature: float = 1.0) -> np.ndarray:
    """Says how well inputs fit the classes, higher for better.

    `max-softmax` is the largest probability, 0..1: Hendrycks and Gimpel, "A Baseline for Detecting Misclassified and
    Out-of-Distribution Examples in Neural Networks", 2017. `energy` is the logarithm of the sum of the exponentials of
    the logits, of any size: Liu et al., "Energy-based Out-of-distribution Detection", 2020, with their temperature 1.

    Args:
        logits: Shape `(count, classes)`.
        score: One of `SCORES`.
        temperature: What logits are divided by before `max-softmax`, as in serving.

    Returns:
        Shape `(count,)`, float32.
    """
    if score == "max-softmax":
        return softmax(logits / np.float32(temperature)).max(axis=-1)
    highest = logits.max(axis=-1)
    return highest + np.log(np.exp(logits - highest[:, None]).sum(axis=-1))


def choose(known: np.ndarray, score: str, false_alarm_rate: float) -> Threshold:
    """Chooses the threshold that takes a share of scores of known inputs, shape `(count,)`, for unknown ones."""
    return Threshold(score, float(np.quantile(known, false_alarm_rate)), false_alarm_rate)


def auroc(known: np.ndarray, unknown: np.ndarray) -> float:
    """Area under the ROC curve: how often a known input, drawn at random, scores above an unknown one, 0..1."""
    # Imported where it is used: it takes a second.
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([1] * len(known) + [0] * len(unknown), np.concatenate([known, unknown])))
