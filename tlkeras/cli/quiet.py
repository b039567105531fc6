"""TensorFlow's start without its chatter, and without what nobody here needs of it."""

from __future__ import annotations

import atexit
import contextlib
import gc
import sys
from collections.abc import Iterator

from tlkeras import consoles

# What Keras and TensorFlow import where it is installed, for functions that no command calls; a second in all.
_NOT_NEEDED = ("matplotlib", "sklearn", "pandas")


@contextlib.contextmanager
def start() -> Iterator[None]:
    """Imports TensorFlow, and keeps off the terminal what its C++ side writes to standard error before it can be told.

    It speaks of CPU instructions and of the GPU driver that is not there. Exceptions are not touched; `--debug`, which
    leaves TensorFlow's log level at 0, shows everything.
    """
    with consoles.no_standard_error(), _collecting_nothing():
        with _hidden(*_NOT_NEEDED):
            import keras  # noqa: F401
            import tensorflow as tf

        tf.config.list_physical_devices()
        # What is left in the end goes with the process; to look through it takes Python a quarter of a second.
        atexit.register(gc.freeze)
        yield


@contextlib.contextmanager
def _hidden(*names: str) -> Iterator[None]:
    """Has imports within the block take modules for not installed; afterwards they can be imported as ever."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


@contextlib.contextmanager
def _collecting_nothing() -> Iterator[None]:
    """Leaves alone, from now on, what the block makes: modules stay, and to look for garbage among them takes long."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()
