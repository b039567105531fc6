"""The whole job as one object: train, evaluate, report and export, from a run folder that outlives the process."""

from __future__ import annotations

import functools
import os

import keras

from tlkeras.data.dataset import Data
from tlkeras.engine.runs import RunFolder

_RECIPE = ("backbone", "weights", "image_size", "trainable", "batch_norm", "pooling", "dropout")


class Run:
    """A run and its folder; made by `tlkeras.train`, or opened again from the folder.

    Raises:
        TlkerasError: The folder holds no run.
    """

    def __init__(self, path: str | os.PathLike):
        self.folder = RunFolder(path)
        self.spec = self.folder.read_spec()

    @functools.cached_property
    def model(self) -> keras.Model:
        """The trained model, a plain `keras.Model`: that of the epoch with the lowest validation loss."""
        return self.folder.load_model()

    @functools.cached_property
    def data(self) -> Data:
        """The data of the run with the split that it recorded."""
        return Data.read(self.folder.path, self.spec.data)

    @property
    def history(self) -> keras.callbacks.History:
        """What `fit` would have returned: each figure of each epoch, over all phases."""
        history, rows = keras.callbacks.History(), self.folder.read_history()
        history.epoch = [row["epoch"] - 1 for row in rows]
        history.history = {key: [row[key] for row in rows] for key in rows[0] if key not in ("epoch", "phase")}
        return history
