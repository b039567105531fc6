"""A linear head on stored features is a convex problem, and is solved as one."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

# Inverse strengths of the penalty, from strong to weak, for features that are centred and have a mean squared norm of 1.
PATH = tuple(10 ** (exponent / 2) for exponent in range(9))


@dataclass(frozen=True)
class Solution:
    """A linear head: `features @ kernel + bias` are the logits.

    Attributes:
        kernel: float32 `(features, classes)`.
        bias: float32 `(classes,)`.
        strength: Inverse strength of the regularisation that was chosen.
        tried: Validation loss of each strength.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    tried: dict[float, float]

    def figures(self, features: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Gives accuracy and mean cross-entropy on features `(count, features)`."""
        return _figures(features @ self.kernel + self.bias, labels)


def solve(
    features: np.ndarray,
    labels: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    classes: int,
    class_weight: dict[int, float] | None = None,
) -> Solution:
    """Solves multinomial logistic regression with an L2 penalty by L-BFGS, with the penalty that validates best.

    The penalties are tried from strong to weak, each from the solution before; one that validates no better than the one
    before it ends the search, since weaker ones overfit more.

    Args:
        features: float32 `(count, features)`.
        labels: int `(count,)`, every class among them.
        validation: Features and labels that choose the penalty.
        classes: How many classes there are.
        class_weight: Weight of each class in the loss.
    """
    # scikit-learn takes a second to import, which nobody should wait for who solves nothing.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    scaled = features - centre
    scale = np.float32(1 / max(float(np.sqrt(np.mean(np.square(scaled)) * scaled.shape[1])), 1e-12))
    scaled *= scale
    model = LogisticRegression(warm_start=True, max_iter=1000, tol=1e-6, class_weight=class_weight)
    best, tried = None, {}
    for strength in PATH:
        # The products are small: threads that wait for each other take longer than one.
        with threadpool_limits(1), warnings.catch_warnings():
            # The thousandth step of a solution that is still getting better is good enough to be compared.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.set_params(C=strength).fit(scaled, labels)
        kernel, bias = _full(model.coef_, model.intercept_)
        kernel = (kernel * scale).astype(np.float32)
        bias = (bias - centre @ kernel).astype(np.float32)
        tried[strength] = _figures(validation[0] @ kernel + bias, validation[1])[1]
        if best is None or tried[strength] < tried[best.strength]:
            best = Solution(kernel, bias, strength, tried)
        else:
            break
    return best


def _full(coefficients: np.ndarray, intercept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gives kernel and bias of a logit a class; for two classes scikit-learn has one, their difference."""
    if len(coefficients) == 1:
        coefficients, intercept = np.concatenate([-coefficients, coefficients]) / 2, np.stack([-intercept[0], intercept[0]]) / 2
    return coefficients.T, intercept


def _figures(logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return float((logits.argmax(axis=-1) == labels).mean()), float(-log[np.arange(len(labels)), labels].mean())
