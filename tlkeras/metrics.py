"""Headline numbers of a classifier, each with the interval that the size of the evaluation set leaves open."""

from __future__ import annotations

import dataclasses

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 1000
# Drawn indices held at once: bounds the memory whatever the number of examples and classes.
_CHUNK = 2_000_000


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A number and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} ({self.low:.4f} to {self.high:.4f})"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Softmax of logits `(count, classes)`, as float32 probabilities."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True), dtype=np.float32)
    return shifted / shifted.sum(axis=-1, keepdims=True)


def cross_entropy(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Cross-entropy in nats of each example, from logits so that a probability too small for a float costs no infinity.

    Args:
        logits: Shape `(count, classes)`.
        labels: Index of the true class of each example.
    """
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=-1, dtype=np.float64)) - shifted[np.arange(len(labels)), labels]


def in_top(logits: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Says of each example whether its true class is among the `k` best; classes that tie with it rank above it.

    A model that gives every class the same score has ranked nothing, so it earns nothing.
    """
    true = logits[np.arange(len(labels)), labels][:, None]
    return (logits >= true).sum(axis=-1) <= k


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts how often class `t` was taken for class `p`, at `[t, p]`, from the class indices of each example."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)


def per_class(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Gives precision, recall, F1 (each 0 where undefined) and the number of examples of each class."""

    def share(of: np.ndarray) -> np.ndarray:
        return np.divide(hits, of, out=np.zeros(len(hits)), where=of > 0)

    hits, taken, there = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    return share(taken), share(there), share((taken + there) / 2), there


def headlines(logits: np.ndarray, labels: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> dict[str, Estimate]:
    """Loss, accuracy, macro F1 and (above five classes) top-5, each with its bootstrap interval.

    The interval is the percentile bootstrap over examples: the middle 95 % of the number's values on `resamples` sets
    of the same size drawn with replacement. Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13.

    Args:
        logits: Shape `(count, classes)`.
        labels: Index of the true class of each example.
        seed: Seeds the draws; the same seed gives the same interval.
        resamples: Number of sets that are drawn.
    """
    count, classes = logits.shape
    predicted = logits.argmax(axis=-1)
    examples = {"loss": cross_entropy(logits, labels), "accuracy": (predicted == labels).astype(np.float64)}
    if classes > 5:
        examples["top5"] = in_top(logits, labels, 5).astype(np.float64)

    drawn = {name: [] for name in [*examples, "macro_f1"]}
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // max(count, classes))
    for start in range(0, resamples, step):
        indices = rng.integers(0, count, (min(step, resamples - start), count))
        for name, values in examples.items():
            drawn[name].append(values[indices].mean(axis=1))
        drawn["macro_f1"].append(_macro_f1(labels[indices], predicted[indices], classes))

    values = {name: values.mean() for name, values in examples.items()}
    values["macro_f1"] = _macro_f1(labels[None], predicted[None], classes)[0]
    tail = 100 * (1 - CONFIDENCE) / 2
    ends = {name: np.percentile(np.concatenate(drawn[name]), [tail, 100 - tail]) for name in drawn}
    return {name: Estimate(float(value), *map(float, ends[name])) for name, value in values.items()}


def _macro_f1(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Macro F1 of each row, over the classes among its labels or predictions, as scikit-learn takes them."""
    rows = np.arange(len(labels))[:, None] * classes

    def counts(values, weights=None):
        total = np.bincount((rows + values).ravel(), weights, minlength=len(labels) * classes)
        return total.reshape(len(labels), classes)

    hits = counts(labels, (labels == predicted).ravel())
    seen = counts(labels) + counts(predicted)
    f1 = np.divide(2.0 * hits, seen, out=np.zeros(hits.shape), where=seen > 0)
    return f1.sum(axis=1) / (seen > 0).sum(axis=1)
