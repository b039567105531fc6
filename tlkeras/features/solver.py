"""A linear head on stored features is a convex problem, and is solved as one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Inverse strengths of the penalty, from strong to weak; features are centred and have a mean squared norm of 1.
PATH = (0.3, 3.0, 30.0, 300.0, 3000.0, 30000.0)
# A solution is one where no part of the gradient is larger, or the loss falls by less in a step; or after many steps.
_GRADIENT, _PROGRESS, _STEPS = 1e-6, 1e-7, 1000


@dataclass(frozen=True)
class Solution:
    """A linear head: `features @ kernel + bias` are the logits.

    Attributes:
        kernel: float32 `(features, classes)`.
        bias: float32 `(classes,)`.
        strength: Inverse strength of the penalty that was chosen.
        tried: Validation loss of each strength.
    """

    kernel: np.ndarray
    bias: np.ndarray
    strength: float
    tried: dict[float, float]

    def figures(self, features: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Gives accuracy and mean cross-entropy on features `(count, features)`."""
        logits = features @ self.kernel + self.bias
        return float((logits.argmax(axis=-1) == labels).mean()), float(_losses(logits, labels).mean())


def solve(
    features: np.ndarray,
    labels: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    class_weight: dict[int, float] | None = None,
) -> Solution:
    """Solves multinomial logistic regression with an L2 penalty by L-BFGS, with the penalty that validates best.

    The penalties are tried from strong to weak, each from the solution before. The first that validates no better than
    the one before it ends the search, since weaker ones overfit more.

    Args:
        features: float32 `(count, features)`.
        labels: int `(count,)`, every class among them.
        validation: Features and labels that choose the penalty.
        class_weight: Weight of each class in the loss.
    """
    from threadpoolctl import threadpool_limits

    # The products are narrow: threads that wait for each other take twenty times as long as one.
    with threadpool_limits(1):
        problem = _Problem(features, labels, class_weight)
        best, tried = None, {}
        for strength in PATH:
            kernel, bias = problem.solve(strength)
            tried[strength] = float(_losses(validation[0] @ kernel + bias, validation[1]).mean())
            if best is not None and tried[strength] >= tried[best.strength]:
                break
            best = Solution(kernel, bias, strength, tried)
    return best


class _Problem:
    """Mean weighted cross-entropy plus `|kernel|^2 / (2 * strength * count)`, of centred and scaled features."""

    def __init__(self, features: np.ndarray, labels: np.ndarray, class_weight: dict[int, float] | None):
        self._centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        rows = features - self._centre
        self._scale = np.float32(1 / max(float(np.sqrt(np.square(rows).sum(axis=1).mean())), 1e-12))
        rows *= self._scale
        self._directions = None
        if len(rows) < rows.shape[1]:
            # The kernel lies in the space that the rows span, which has fewer dimensions then.
            values, vectors = np.linalg.eigh(rows @ rows.T)
            kept = values > max(values[-1], 1e-12) * 1e-7
            lengths = np.sqrt(values[kept])
            self._directions = rows.T @ (vectors[:, kept] / lengths)
            rows = vectors[:, kept] * lengths
        self._rows, self._columns = rows, np.ascontiguousarray(rows.T)
        self._targets = np.eye(labels.max() + 1, dtype=np.float32)[labels]
        weights = np.ones(len(labels)) if class_weight is None else np.array([class_weight[y] for y in labels])
        self._weights = (weights / len(labels)).astype(np.float32)[:, np.newaxis]
        self._found = np.zeros((rows.shape[1] + 1, self._targets.shape[1]))

    def solve(self, strength: float) -> tuple[np.ndarray, np.ndarray]:
        """Gives kernel and bias for the features as they were, from the last solution on."""
        from scipy.optimize import minimize

        options = {"maxiter": _STEPS, "gtol": _GRADIENT, "ftol": _PROGRESS, "maxcor": 20}
        penalty = np.float32(1 / (strength * len(self._rows)))
        result = minimize(self._value, self._found.ravel(), (penalty,), "L-BFGS-B", jac=True, options=options)
        self._found = result.x.reshape(self._found.shape)
        kernel, bias = self._found[:-1].astype(np.float32), self._found[-1]
        if self._directions is not None:
            kernel = self._directions @ kernel
        kernel = kernel * self._scale
        return kernel, (bias - self._centre @ kernel).astype(np.float32)

    def _value(self, flat: np.ndarray, penalty: np.float32) -> tuple[float, np.ndarray]:
        found = flat.astype(np.float32).reshape(self._found.shape)
        kernel = found[:-1]
        logits = self._rows @ kernel + found[-1]
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        sums = powers.sum(axis=1, keepdims=True)
        losses = np.log(sums) - (logits * self._targets).sum(axis=1, keepdims=True)
        errors = (powers / sums - self._targets) * self._weights
        gradient = np.concatenate([self._columns @ errors + penalty * kernel, errors.sum(axis=0, keepdims=True)])
        value = (losses * self._weights).sum(dtype=np.float64) + 0.5 * penalty * np.square(kernel).sum(dtype=np.float64)
        return float(value), gradient.astype(np.float64).ravel()


def _losses(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=-1)) - shifted[np.arange(len(labels)), labels]
