"""What happens after each epoch: it is kept, it is shown, and it may be the last."""

from __future__ import annotations

import contextlib
import time

import keras
from rich.console import Console

from tlkeras.consoles import bar
from tlkeras.engine.checkpoint import Checkpoint, Progress
from tlkeras.engine.idle import Waiting
from tlkeras.engine.runs import RunFolder
from tlkeras.leaving import Leaving


class KeepEpoch(keras.callbacks.Callback):
    """Writes history and checkpoint after each epoch, and ends a phase whose validation loss no longer falls.

    Args:
        whole: The model that is kept; what is fitted may be a part of it.
        patience: Epochs without a better validation loss before the phase ends; 0 is never.
    """

    def __init__(
        self, whole: keras.Model, folder: RunFolder, checkpoint: Checkpoint, progress: Progress, patience: int
    ):
        super().__init__()
        self._whole, self._folder, self._checkpoint = whole, folder, checkpoint
        self._progress, self._patience = progress, patience

    def on_epoch_end(self, epoch, logs=None):
        figures = {name: float(value) for name, value in logs.items()}
        self._progress.add({"epoch": epoch + 1, "phase": self._progress.phase + 1, **figures})
        self._checkpoint.save(self._whole, self.model.optimizer, self._progress)
        self._folder.write_history(self._progress.epochs)
        if self._progress.is_patience_over(self._patience):
            self.model.stop_training = True


class LeaveWhenTold(keras.callbacks.Callback):
    """Ends training between two steps where the process was told to leave."""

    def __init__(self, leaving: Leaving):
        super().__init__()
        self._leaving = leaving

    def on_train_batch_end(self, batch, logs=None):
        self._leaving.check()

    def on_test_batch_end(self, batch, logs=None):
        self._leaving.check()


class ShowEpoch(keras.callbacks.Callback):
    """Shows a bar for each epoch on a terminal, and one plain line an epoch everywhere.

    Args:
        waiting: Knows how long the epoch waited for its input, whose share is shown.
    """

    def __init__(self, console: Console, epochs: int, steps: int, waiting: Waiting | None = None):
        super().__init__()
        self._console, self._epochs, self._steps, self._waiting = console, epochs, steps, waiting
        self._bar = contextlib.ExitStack()

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.monotonic()
        self._move = self._bar.enter_context(bar(self._console, f"epoch {epoch + 1}/{self._epochs}"))
        self._move(0, self._steps)

    def on_train_batch_end(self, batch, logs=None):
        self._move(batch + 1, self._steps, f"loss {logs['loss']:.4f}")

    def on_epoch_end(self, epoch, logs=None):
        self.close()
        figures = "  ".join(f"{name} {value:.4f}" for name, value in logs.items())
        seconds = time.monotonic() - self._begun
        waited = f", {self._waiting.take() / seconds:.0%} waiting for input" if self._waiting else ""
        self._console.print(f"epoch {epoch + 1}/{self._epochs}  {figures}  {_in_words(seconds)}{waited}")

    def close(self) -> None:
        """Takes the bar off the terminal."""
        self._bar.close()


def _in_words(seconds: float) -> str:
    return (
        f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s" if seconds >= 0.95 else f"{seconds * 1000:.0f} ms"
    )
