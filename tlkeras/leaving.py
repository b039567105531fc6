"""Leaving when told to: a scheduler that needs the machine sends SIGTERM and waits a little before it kills."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from tlkeras.errors import TryAgain

_TOLD = "told to leave by SIGTERM; start again with --resume to go on"
# Those that look whether they are told.
_listening: list[Leaving] = []


class _Left(BaseException):
    """Passes through what would word an exception anew, as TensorFlow does with those of code that it traces."""


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
            raise TryAgain(_TOLD)


@contextlib.contextmanager
def at_sigterm() -> Iterator[None]:
    """Has the first SIGTERM end the block where it stands, for what leaves nothing half done wherever it is left.

    The second ends the process at once. In another thread than the main one nothing changes.

    Raises:
        TryAgain: SIGTERM came.
    """

    def leave(*_) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise _Left

    try:
        with _handler(leave):
            yield
    except _Left:
        raise TryAgain(_TOLD) from None


def listen_again() -> None:
    """Takes SIGTERM back: TensorFlow takes it for itself, and does nothing with it, when workers connect."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))


@contextlib.contextmanager
def on_sigterm() -> Iterator[Leaving]:
    """Turns the first SIGTERM into a mark that is looked at between two steps, so that no file is left half written.

    The second ends the process at once, as SIGTERM always does. Signals reach the main thread alone: in another one, as
    those of Ray or of a notebook, `ask` does it.
    """
    leaving = Leaving()

    def mark(*_) -> None:
        leaving.is_asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    _listening.append(leaving)
    try:
        with _handler(mark):
            yield leaving
    finally:
        _listening.remove(leaving)


def ask() -> None:
    """Does what the first SIGTERM does, from any thread; nothing where nobody is at work."""
    for leaving in list(_listening):
        leaving.is_asked = True


@contextlib.contextmanager
def _handler(handler: Callable) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before if before is not None else signal.SIG_DFL)
