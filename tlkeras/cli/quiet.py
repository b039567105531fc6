"""TensorFlow's start without its chatter."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from tlkeras import consoles


@contextlib.contextmanager
def start() -> Iterator[None]:
    """Keeps off the terminal what TensorFlow's C++ side writes to standard error before it can be configured.

    It speaks of CPU instructions and of the GPU driver that is not there. Exceptions are not touched; `--debug`, which
    leaves TensorFlow's log level at 0, shows everything.
    """
    if consoles.shows_everything():
        yield
        return
    with consoles.no_standard_error():
        import tensorflow as tf

        tf.config.list_physical_devices()
        yield
