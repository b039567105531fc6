"""A phase that trains a linear head alone, and is solved instead of stepped through."""

from __future__ import annotations

import time

import keras
import numpy as np
from rich.console import Console

from tlkeras.engine.checkpoint import Checkpoint, Progress
from tlkeras.engine.runs import RunFolder
from tlkeras.errors import TlkerasError
from tlkeras.features import solver
from tlkeras.features.dataset import Table
from tlkeras.heads import ClassLogits
from tlkeras.leaving import Leaving
from tlkeras.spec import RunSpec

# Settings that mean something to steps of an optimizer alone; who sets one wants those.
_OF_STEPS = ("epochs", "learning_rate", "optimizer", "batch_size", "early_stopping", "dropout")
# Bytes of features from which on steps get there sooner.
_LARGE = 50_000_000


def is_solved(rest: keras.Model, train: Table, spec: RunSpec, first: bool) -> bool:
    """Says whether a phase is solved: where its problem is convex and fits into memory, unless steps are asked for.

    Args:
        rest: What is trained.
        train: What it is trained on.
        spec: The spec.
        first: Whether it is the first phase.

    Raises:
        TlkerasError: A solution is asked for, and the phase has none.
    """
    if spec.solver == "sgd":
        return False
    defaults = RunSpec()
    if spec.solver == "auto" and any(getattr(spec, name) != getattr(defaults, name) for name in _OF_STEPS):
        return False
    if spec.solver == "auto" and train.rows.bytes > _LARGE:
        return False
    reason = _reason_against(rest, train, spec)
    if reason:
        refuse_steps(spec, reason, first)
    return not reason


def refuse_steps(spec: RunSpec, reason: str, first: bool) -> None:
    """Refuses to take steps in the first phase instead of a solution that was asked for.

    Raises:
        TlkerasError: One was.
    """
    if spec.solver == "lbfgs" and first:
        raise TlkerasError(f"solver: lbfgs solves a linear head on features in memory, and {reason}; take sgd")


def _reason_against(rest: keras.Model, train: Table, spec: RunSpec) -> str:
    trained = [layer for layer in rest.layers if not isinstance(layer, keras.layers.InputLayer | keras.layers.Dropout)]
    if [type(layer) for layer in trained] != [ClassLogits] or len(rest.input_shape) != 2:
        return "more than a linear head trains here"
    if spec.mixup:
        return "mixup draws new labels in every step"
    if len(np.unique(train.labels)) < train.classes:
        return "some classes have no training examples"
    return "" if train.rows.is_in_memory else "the features do not fit into memory"


class Solved:
    """Solves the head of a model, and keeps the outcome as the one epoch of its phase."""

    def __init__(
        self,
        model: keras.Model,
        folder: RunFolder,
        checkpoint: Checkpoint,
        progress: Progress,
        console: Console,
        told: Leaving,
    ):
        self._model, self._folder, self._checkpoint = model, folder, checkpoint
        self._progress, self._console, self._told = progress, console, told

    def train(self, train: Table, val: Table, class_weight: dict[int, float] | None) -> None:
        """Puts the solution into the head."""
        begun = time.monotonic()
        features, labels = _in_float32(train), np.repeat(train.labels, train.views)
        validation = _in_float32(val), val.labels
        solution = solver.solve(features, labels, validation, class_weight, self._told.check)
        self._model.get_layer("logits").set_weights([solution.kernel, solution.bias])
        (accuracy, loss), (val_accuracy, val_loss) = solution.figures(features, labels), solution.figures(*validation)
        figures = {"accuracy": accuracy, "loss": loss, "val_accuracy": val_accuracy, "val_loss": val_loss}
        self._progress.add({"epoch": len(self._progress.epochs) + 1, "phase": self._progress.phase + 1, **figures})
        self._progress.is_solved = True
        self._checkpoint.save(self._model, None, self._progress)
        self._folder.write_history(self._progress.epochs)
        shown = "  ".join(f"{name} {value:.4f}" for name, value in figures.items())
        self._console.print(
            f"head solved by L-BFGS, inverse penalty {solution.strength:g} chosen of {len(solution.tried)}  {shown}  "
            f"{time.monotonic() - begun:.1f} s"
        )


def _in_float32(table: Table) -> np.ndarray:
    (features,) = table.rows.take(np.arange(len(table.rows)))
    return features.astype(np.float32)
