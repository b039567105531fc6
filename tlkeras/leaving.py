"""Leaving when told to: a scheduler that needs the machine sends SIGTERM and waits a little before it kills."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

from tlkeras.errors import TryAgain

# Those that look whether they are told.
_listening: list[Leaving] = []


class Leaving:
    """Whether this process was told to leave.

    Attributes:
        is_asked: True from the first SIGTERM on.
    """

    is_asked = False

    def check(self) -> None:
        """Raises where nothing is half done, if this process was told to leave.

        Raises:
            TryAgain: It was.
        """
        if self.is_asked:
            raise TryAgain("told to leave by SIGTERM; start again with --resume to go on")


@contextlib.contextmanager
def on_sigterm() -> Iterator[Leaving]:
    """Turns the first SIGTERM into a mark that is looked at between two steps, so that no file is left half written.

    The second ends the process at once, as SIGTERM always does. Signals reach the main thread alone: in another one, as
    those of Ray or of a notebook, `ask` does it.
    """
    leaving = Leaving()
    _listening.append(leaving)
    try:
        with _handler(leaving):
            yield leaving
    finally:
        _listening.remove(leaving)


def ask() -> None:
    """Does what the first SIGTERM does, from any thread; nothing where nobody is at work."""
    for leaving in list(_listening):
        leaving.is_asked = True


@contextlib.contextmanager
def _handler(leaving: Leaving) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def mark(*_) -> None:
        leaving.is_asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, mark)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
