"""TensorFlow's start without its chatter."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def start() -> Iterator[None]:
    """Keeps off the terminal what TensorFlow's C++ side writes to standard error before it can be configured.

    It speaks of CPU instructions and of the GPU driver that is not there. Exceptions are not touched; `--debug`, which
    leaves TensorFlow's log level at 0, shows everything.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        yield
        return
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        import tensorflow as tf

        tf.config.list_physical_devices()
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
