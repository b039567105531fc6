"""The processes that train one model together: the chief keeps the run folder, the others work in one aside."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console

from tlkeras import archives, leaving
from tlkeras.cluster.meeting import Meeting
from tlkeras.distribute.devices import settle
from tlkeras.engine.runs import RunFolder
from tlkeras.errors import TlkerasError, TryAgain, in_one_line
from tlkeras.files import locked
from tlkeras.places import cache_folder

# What TensorFlow raises when a worker that it wants to hear from is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnknownError,
)
# Seconds in which TensorFlow's servers should have found each other; they are all about to start.
_START = 45.0
# Seconds in which the meeting should know who is gone after TensorFlow has noticed something.
_PATIENCE = 10.0
_TOLD = ("spec.toml", "card.toml", "split.csv", "excluded.csv", "history.csv", "checkpoints", "module")


class Team:
    """One process alone, or the workers of a cluster.

    Args:
        met: The meeting of the workers; None for one process alone.
        tell: Called with what ends this process because another one went away; it is written to standard error where
            not given.

    Attributes:
        size: How many processes there are.
        index: Number of this one, from 0.
        is_chief: Whether this one keeps the run folder, and speaks.
    """

    def __init__(self, met: Meeting | None = None, tell: Callable[[TlkerasError], None] | None = None):
        self._met, self._tell = met, tell or _write
        self.size = met.cluster.size if met else 1
        self.index = met.cluster.index if met else 0
        self.is_chief = self.index == 0
        self._aside: Path | None = None

    def console(self, console: Console) -> Console:
        """Gives the console to the chief, and to the others one that shows nothing."""
        return console if self.is_chief else Console(quiet=True)

    @contextlib.contextmanager
    def run_folder(self, output: str | os.PathLike) -> Iterator[RunFolder]:
        """Gives the chief the run folder, held; and the others one that is removed in the end."""
        if self.is_chief:
            folder = RunFolder(output)
            with folder.held():
                yield folder
        else:
            # Of this machine alone: locks on a disk that others have as well may not reach them.
            places = cache_folder() / "workers" / platform.node()
            places.mkdir(parents=True, exist_ok=True)
            with contextlib.ExitStack() as held:
                with locked(places, wait=True):
                    _clear(places)
                    self._aside = places / re.sub(r"[^\w.-]", "-", self._met.cluster.addresses[self.index])
                    shutil.rmtree(self._aside, ignore_errors=True)
                    self._aside.mkdir()
                    held.enter_context(locked(self._aside))
                try:
                    yield RunFolder(self._aside)
                finally:
                    shutil.rmtree(self._aside, ignore_errors=True)

    def hand_out(self, source: RunFolder, target: RunFolder) -> None:
        """Copies what a run has begun with from the chief's `source` to the `target` of each other process."""
        if self.size == 1:
            return
        with tempfile.TemporaryDirectory() as aside:
            packed, unpacked = Path(aside, "run.tar"), Path(aside, "run")
            if self.is_chief:
                with tarfile.open(packed, "w") as tar:
                    for name in _TOLD:
                        if (source.path / name).exists():
                            tar.add(source.path / name, name)
            self._met.share_file(packed)
            if not self.is_chief:
                archives.extract(packed, unpacked)
                shutil.copytree(unpacked, target.path, dirs_exist_ok=True)

    def hand_out_weights(self, model: keras.Model) -> None:
        """Gives the model of each process the weights of the chief's."""
        if self.size == 1:
            return
        with tempfile.TemporaryDirectory() as aside:
            file = Path(aside, "weights.npz")
            if self.is_chief:
                np.savez(file, *model.get_weights())
            self._met.share_file(file)
            if not self.is_chief:
                with np.load(file, allow_pickle=False) as given:
                    model.set_weights(list(given.values()))

    def share(self, make):
        """Has the chief make a value, and gives it to all."""
        return self._met.share(make) if self._met else make()

    def wait(self, name: str) -> None:
        """Waits until all processes have come to the point of this name."""
        if self._met:
            self._met.wait(name)

    def part(self, examples: Sequence) -> Sequence:
        """Gives the part of the examples that is this process' to judge."""
        return examples[self.index :: self.size]

    def together(self, rows: np.ndarray) -> np.ndarray:
        """Puts the rows of all processes, each of its `part`, into the order of the whole."""
        if self.size == 1:
            return rows
        strategy = self._strategy
        first = self.index * (strategy.num_replicas_in_sync // self.size)

        def value(context):
            return tf.constant(rows if context.replica_id_in_sync_group == first else rows[:0])

        gathered = strategy.gather(strategy.experimental_distribute_values_from_function(value), axis=0).numpy()
        order = np.concatenate([np.arange(len(gathered))[index :: self.size] for index in range(self.size)])
        return gathered[np.argsort(order)]

    @contextlib.contextmanager
    def at_work(self, devices: str) -> Iterator[tf.distribute.Strategy]:
        """Gives the strategy. Within the block, this process ends when another one goes away.

        Raises:
            TryAgain: Another one went away, and TensorFlow noticed first.
            TlkerasError: As `tlkeras.distribute.strategy`.
        """
        # What is wrong with the devices of one is said before the others wait for it, when they hear nothing.
        make = settle(devices, patience_seconds=_START)
        if self._met:
            self._met.free_port()
            self._met.watch(self._end)
        try:
            self._strategy = make()
            leaving.listen_again()
            yield self._strategy
        except _LOST as error:
            if not self._met:
                raise
            raise self._met.await_failure(_PATIENCE) or TryAgain(
                f"the workers lost each other; start all of them again with --resume ({in_one_line(error)})"
            ) from error

    def _end(self, error: TlkerasError) -> None:
        # TensorFlow waits for the one that is gone, and hears no exception of another thread.
        if self._aside:
            shutil.rmtree(self._aside, ignore_errors=True)
        # What TensorFlow writes to read code goes at a usual exit alone.
        for name, module in list(sys.modules.items()):
            if name.startswith("__autograph_generated_file"):
                Path(module.__file__).unlink(missing_ok=True)
        try:
            self._tell(error)
        finally:
            os._exit(error.exit_code)


def _clear(places: Path) -> None:
    """Removes what killed workers left: the system has let go of the locks on it."""
    for place in places.iterdir():
        with locked(place) as is_free:
            if is_free:
                shutil.rmtree(place, ignore_errors=True)


def _write(error: TlkerasError) -> None:
    print(f"Error: {error}", file=sys.stderr, flush=True)
