"""A linear head on stored features is a convex problem, and is solved as one."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from tlkeras.metrics import cross_entropy

# Inverse strengths of the penalty, from strong to weak; features are centred and have a mean squared norm of 1.
PATH = (1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)
# A solution is one where no part of the gradient is larger, or the loss falls by less in a step; or after many steps.
_GRADIENT, _PROGRESS, _STEPS = 1e-6, 1e-7, 200
# Steps between two looks at the validation part, and by how much worse it may be while a penalty is tried.
_LOOK, _SLACK = 10, 1.02
# Rows that one thread takes at a time.
_CHUNK = 512
# Rows or features, whichever are fewer, up to which the principal axes are found in less time than they save.
_MOST = 3000
# Curvature of the loss once most answers are sure, as a share of that where all classes are as likely.
_SURE = 0.1


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
        return float((logits.argmax(axis=-1) == labels).mean()), float(cross_entropy(logits, labels).mean())


def solve(
    features: np.ndarray,
    labels: np.ndarray,
    validation: tuple[np.ndarray, np.ndarray],
    class_weight: dict[int, float] | None = None,
    check: Callable[[], None] = lambda: None,
) -> Solution:
    """Solves multinomial logistic regression with an L2 penalty by L-BFGS, with the penalty that validates best.

    The penalties are tried from strong to weak, each from the solution before. The first that validates no better than
    the one before it ends the search, since weaker ones overfit more; it is given up as soon as it validates worse.

    Args:
        features: float32 `(count, features)`.
        labels: int `(count,)`, every class among them.
        validation: Features and labels that choose the penalty.
        class_weight: Weight of each class in the loss.
        check: Called now and then; what it raises ends the search.
    """
    # The products are narrow: threads of BLAS that wait for each other take twenty times as long as one.
    with threadpool_limits(1), ThreadPoolExecutor(os.cpu_count()) as pool:
        problem = _Problem(features, labels, class_weight, pool)
        best, tried = None, {}

        def loss() -> float:
            check()
            kernel, bias = problem.head()
            return float(cross_entropy(validation[0] @ kernel + bias, validation[1]).mean())

        for strength in PATH:
            most = math.inf if best is None else tried[best.strength] * _SLACK
            problem.solve(strength, lambda most=most: loss() > most)
            tried[strength] = loss()
            if best is not None and tried[strength] >= tried[best.strength]:
                break
            best = Solution(*problem.head(), strength, tried)
    return best


class _Problem:
    """Mean weighted cross-entropy plus `|kernel|^2 / (2 * strength * count)`, of centred and scaled features."""

    def __init__(
        self, features: np.ndarray, labels: np.ndarray, class_weight: dict[int, float] | None, pool: ThreadPoolExecutor
    ):
        self._pool = pool
        self._centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
        rows = features - self._centre
        self._scale = np.float32(1 / max(float(np.sqrt(np.square(rows).sum(axis=1).mean())), 1e-12))
        rows *= self._scale
        self._axes, self._rows, self._spread = _principal(rows)
        self._targets = np.eye(labels.max() + 1, dtype=np.float32)[labels]
        weights = np.ones(len(labels)) if class_weight is None else np.array([class_weight[y] for y in labels])
        self._weights = (weights / len(labels)).astype(np.float32)[:, np.newaxis]
        self._found = np.zeros((self._rows.shape[1] + 1, self._targets.shape[1]))

    def solve(self, strength: float, give_up: Callable[[], bool]) -> None:
        """Goes on from the last solution to that of another penalty, or until it is given up."""
        from scipy.optimize import minimize

        options = {"maxiter": _STEPS, "gtol": _GRADIENT, "ftol": _PROGRESS, "maxcor": 20}
        penalty, steps, shape = np.float32(1 / (strength * len(self._rows))), itertools.count(1), self._found.shape
        # In these units the curvature is much the same along all axes, which saves two steps of three.
        curvature = np.append(_SURE / shape[1] * self._spread + penalty, _SURE / shape[1])
        units = 1 / np.sqrt(curvature)[:, np.newaxis]

        def value(flat):
            loss, gradient = self._value((flat.reshape(shape) * units).astype(np.float32), penalty)
            return loss, (gradient * units).ravel()

        def look(flat):
            if next(steps) % _LOOK == 0:
                self._found = flat.reshape(shape) * units
                if give_up():
                    raise StopIteration

        start = (self._found / units).ravel()
        result = minimize(value, start, method="L-BFGS-B", jac=True, callback=look, options=options)
        self._found = result.x.reshape(shape) * units

    def head(self) -> tuple[np.ndarray, np.ndarray]:
        """Gives kernel and bias of the last solution, for the features as they were."""
        kernel, bias = self._found[:-1].astype(np.float32), self._found[-1]
        if self._axes is not None:
            kernel = self._axes @ kernel
        kernel = kernel * self._scale
        return kernel, (bias - self._centre @ kernel).astype(np.float32)

    def _value(self, found: np.ndarray, penalty: np.float32) -> tuple[float, np.ndarray]:
        parts = [slice(start, start + _CHUNK) for start in range(0, len(self._rows), _CHUNK)]
        # In the order of the rows, so that the sums are the same whenever a thread is done.
        losses, gradients = zip(*self._pool.map(lambda part: self._of_rows(part, found), parts), strict=True)
        kernel, gradient = found[:-1], np.sum(gradients, axis=0)
        gradient[:-1] += penalty * kernel
        value = math.fsum(losses) + 0.5 * float(penalty) * np.square(kernel).sum(dtype=np.float64)
        return float(value), gradient.astype(np.float64)

    def _of_rows(self, part: slice, found: np.ndarray) -> tuple[float, np.ndarray]:
        rows, targets, weights = self._rows[part], self._targets[part], self._weights[part]
        logits = rows @ found[:-1] + found[-1]
        logits -= logits.max(axis=1, keepdims=True)
        powers = np.exp(logits)
        sums = powers.sum(axis=1, keepdims=True)
        losses = np.log(sums) - (logits * targets).sum(axis=1, keepdims=True)
        errors = (powers / sums - targets) * weights
        gradient = np.concatenate([rows.T @ errors, errors.sum(axis=0, keepdims=True)])
        return float((losses * weights).sum(dtype=np.float64)), gradient


def _principal(rows: np.ndarray) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    """Turns centred rows `(count, width)` into those of their principal axes; only directions that occur are kept.

    Returns:
        The axes `(width, kept)`, or None where there are too many to find; the rows `(count, kept)`; and the mean
        square along each axis.
    """
    count, width = rows.shape
    if min(count, width) > _MOST:
        return None, rows, np.square(rows).mean(axis=0)
    with threadpool_limits(os.cpu_count()):
        if count >= width:
            squares, axes = np.linalg.eigh(rows.T @ rows)
            return axes, rows @ axes, squares.clip(0) / count
        squares, vectors = np.linalg.eigh(rows @ rows.T)
        kept = squares > max(squares[-1], 1e-12) * 1e-7
        lengths = np.sqrt(squares[kept])
        return rows.T @ (vectors[:, kept] / lengths), vectors[:, kept] * lengths, squares[kept] / count
