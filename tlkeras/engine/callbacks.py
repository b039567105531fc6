"""What happens after each epoch: it is kept, it is shown, and it may be the last."""

from __future__ import annotations

import time

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tlkeras.engine.checkpoint import Checkpoint
from tlkeras.engine.checkpoint import Progress as RunProgress
from tlkeras.engine.runs import RunFolder


class KeepEpoch(keras.callbacks.Callback):
    """Writes history and checkpoint after each epoch, and ends a phase whose validation loss no longer falls.

    Args:
        patience: Epochs without a better validation loss before the phase ends; 0 is never.
    """

    def __init__(self, folder: RunFolder, checkpoint: Checkpoint, progress: RunProgress, patience: int):
        super().__init__()
        self._folder, self._checkpoint, self._progress, self._patience = folder, checkpoint, progress, patience

    def on_epoch_end(self, epoch, logs=None):
        figures = {name: float(value) for name, value in logs.items()}
        self._progress.add({"epoch": epoch + 1, "phase": self._progress.phase + 1, **figures})
        self._checkpoint.save(self.model, self._progress)
        self._folder.write_history(self._progress.epochs)
        if self._progress.is_patience_over(self._patience):
            self.model.stop_training = True


class ShowEpoch(keras.callbacks.Callback):
    """Shows a bar for each epoch on a terminal, and one plain line an epoch everywhere."""

    def __init__(self, console: Console, epochs: int, steps: int):
        super().__init__()
        self._console, self._epochs, self._steps = console, epochs, steps
        self._bar = None

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.monotonic()
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, TextColumn("{task.fields[loss]}"), console=self._console, transient=True)
            self._task = self._bar.add_task(f"epoch {epoch + 1}/{self._epochs}", total=self._steps, loss="")
            self._bar.start()

    def on_train_batch_end(self, batch, logs=None):
        if self._bar:
            self._bar.update(self._task, completed=batch + 1, loss=f"loss {logs['loss']:.4f}")

    def on_epoch_end(self, epoch, logs=None):
        self.close()
        figures = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        seconds = time.monotonic() - self._begun
        self._console.print(f"epoch {epoch + 1}/{self._epochs}  {figures}  {seconds:.0f} s", highlight=False)

    def on_train_end(self, logs=None):
        self.close()

    def close(self) -> None:
        """Takes the bar off the terminal."""
        if self._bar:
            self._bar.stop()
            self._bar = None
