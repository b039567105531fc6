"""The state of a run after each epoch: one file, replaced at once, from which training continues to the same end."""

from __future__ import annotations

import json
import zipfile
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from tlkeras.errors import TlkerasError
from tlkeras.files import written_aside


@dataclass
class Progress:
    """How far a run has come.

    Attributes:
        phase: Index of the phase in work, from 0; the number of phases when all are done.
        epochs: One row an epoch, over all phases.
        best_epoch: Number, from 1, of the epoch with the lowest validation loss so far; 0 where there is none.
        best_loss: That loss.
        waited: Epochs of this phase since its validation loss was last at its lowest.
        phase_best: Lowest validation loss of this phase.
        is_solved: Whether the phase in work was solved, so that its one epoch is its last.
    """

    phase: int = 0
    epochs: list[dict] = field(default_factory=list)
    best_epoch: int = 0
    best_loss: float = float("inf")
    waited: int = 0
    phase_best: float = float("inf")
    is_solved: bool = False

    def add(self, row: dict) -> None:
        """Adds the row of an epoch, a dictionary with `epoch`, `phase` and `val_loss`. A loss of NaN is never best."""
        self.epochs.append(row)
        loss = row["val_loss"]
        if loss < self.phase_best:
            self.waited, self.phase_best = 0, loss
        else:
            self.waited += 1
        if loss < self.best_loss:
            self.best_epoch, self.best_loss = row["epoch"], loss

    @property
    def epochs_of_phase(self) -> int:
        """Counts the finished epochs of the phase in work."""
        return sum(row["phase"] == self.phase + 1 for row in self.epochs)

    def is_patience_over(self, patience: int) -> bool:
        """Says whether the phase has waited `patience` epochs for a lower validation loss; 0 waits for ever."""
        return 0 < patience <= self.waited

    def next_phase(self) -> None:
        """Leaves the phase: the next begins with a wait of its own."""
        self.phase, self.waited, self.phase_best, self.is_solved = self.phase + 1, 0, float("inf"), False


class Checkpoint:
    """Keeps in a folder the state of a run: what it began with (`start.npz`), the last epoch and the best one.

    `last.npz` and `best-N.npz` hold what may have changed since the start alone. The last state names the epoch whose
    weights are the best, so that the files agree whenever the process dies.
    """

    def __init__(self, folder: Path):
        self._folder, self._last, self._start = folder, folder / "last.npz", folder / "start.npz"
        self._changing: set[int] = set()

    def begin(self, model: keras.Model, changing: keras.Model) -> None:
        """Notes what a phase changes, and before the first one what the model is.

        Args:
            model: The model.
            changing: The part of it that is not frozen in the phase; its variables are the model's.
        """
        own = {id(variable) for variable in changing.variables}
        self._changing |= {index for index, variable in enumerate(model.variables) if id(variable) in own}
        if not self._last.exists():
            _write(self._start, _values("model", model))

    def save(self, model: keras.Model, optimizer: keras.Optimizer | None, progress: Progress) -> None:
        """Saves what changes, the optimizer's state and the progress in one file, after the best epoch's weights."""
        state = np.frombuffer(json.dumps(asdict(progress)).encode(), np.uint8)
        best, changed = self._best(progress), _values("model", model, self._changing)
        if progress.best_epoch == len(progress.epochs):
            _write(best, changed)
        _write(self._last, {"progress": state, **changed, **(_values("optimizer", optimizer) if optimizer else {})})
        for older in set(self._folder.glob("best-*.npz")) - {best}:
            older.unlink()

    def progress(self) -> Progress:
        """Reads how far the run has come; a run without a finished epoch is at its beginning."""
        if not self._last.exists():
            return Progress()
        with _open(self._last) as arrays:
            return Progress(**json.loads(arrays["progress"].tobytes()))

    def restore_model(self, model: keras.Model) -> None:
        """Puts the weights and seeds of the last epoch into the model."""
        _assign(self._start, "model", model)
        self._changing |= _assign(self._last, "model", model)

    def restore_optimizer(self, trained: keras.Model) -> None:
        """Puts the state of the last epoch into the optimizer of a compiled model."""
        trained.optimizer.build(trained.trainable_variables)
        _assign(self._last, "optimizer", trained.optimizer)

    def restore_best(self, model: keras.Model, progress: Progress) -> None:
        """Puts the weights of the best epoch into the model.

        Raises:
            TlkerasError: The validation loss never was a number.
        """
        if not progress.best_epoch:
            raise TlkerasError(
                "training diverged: the validation loss was never a number; lower learning_rate, in another output"
            )
        kept = _assign(self._best(progress), "model", model)
        if later := self._changing - kept:
            _assign(self._start, "model", model, later)

    def _best(self, progress: Progress) -> Path:
        return self._folder / f"best-{progress.best_epoch}.npz"


def _values(name: str, owner, only: set[int] | None = None) -> dict[str, np.ndarray]:
    return {
        f"{name}/{index}": keras.ops.convert_to_numpy(variable)
        for index, variable in enumerate(owner.variables)
        if only is None or index in only
    }


def _write(path: Path, arrays: dict[str, np.ndarray]) -> None:
    with written_aside(path) as aside, aside.open("wb") as file:
        np.savez(file, **arrays)


def _open(path: Path):
    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise TlkerasError(
            f"the checkpoint {path} cannot be read ({error}); start again with another output"
        ) from error


def _assign(path: Path, name: str, owner, only: set[int] | None = None) -> set[int]:
    """Assigns the values that a file has, or those of them asked for; gives the indices of their variables."""
    with _open(path) as arrays:
        there = {int(key.split("/")[1]) for key in arrays.files if key.startswith(f"{name}/")}
        stored = {index: arrays[f"{name}/{index}"] for index in (there if only is None else there & only)}
    variables = owner.variables
    if any(index >= len(variables) or value.shape != tuple(variables[index].shape) for index, value in stored.items()):
        raise TlkerasError(f"the checkpoint {path} belongs to another {name}: start again with another output")
    for index, value in stored.items():
        variables[index].assign(value)
    return set(stored)
