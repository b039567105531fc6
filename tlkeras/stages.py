"""How long each stage of a run takes: the time within it, without that of the stages within."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator


class Stopwatch:
    """Adds up the seconds of stages by their names, in the order in which they came first."""

    def __init__(self):
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = time.monotonic()

    def _switch(self) -> None:
        now = time.monotonic()
        if self._open:
            self.seconds[self._open[-1]] += now - self._since
        self._since = now

    def begin(self, name: str) -> None:
        """Begins a stage within the one that is going on, if any, whose time stands still meanwhile."""
        self._switch()
        self.seconds.setdefault(name, 0.0)
        self._open.append(name)

    def end(self) -> None:
        """Ends the stage that began last."""
        self._switch()
        self._open.pop()


_CURRENT: contextvars.ContextVar[Stopwatch | None] = contextvars.ContextVar("stopwatch", default=None)


@contextlib.contextmanager
def recorded() -> Iterator[Stopwatch]:
    """Gives a stopwatch that all stages within the block are taken with."""
    watch = Stopwatch()
    token = _CURRENT.set(watch)
    try:
        yield watch
    finally:
        _CURRENT.reset(token)


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Takes the time of the block, where a stopwatch runs."""
    watch = _CURRENT.get()
    if watch is None:
        yield
        return
    watch.begin(name)
    try:
        yield
    finally:
        watch.end()
