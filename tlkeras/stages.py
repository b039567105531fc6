"""How long each stage of a run takes: the time within it, without that of the stages within."""

from __future__ import annotations

import contextlib
import contextvars
import time
from collections.abc import Iterator, Mapping

_START, _OTHER = "start", "other"


class Stopwatch:
    """Adds up the seconds of stages by their names, in the order in which they came first.

    Time in no stage is that of `start` until the first begins, and of `other` from then on.

    Args:
        begun: Since when it runs, on the clock of `time.monotonic`; it stands still until `go_on` where not given.
    """

    def __init__(self, begun: float | None = None):
        self._seconds = {_START: 0.0}
        self._open = [_START]
        self._since = begun

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of each stage until now, to the millisecond; of those that took any."""
        self._switch()
        ordered = {name: self._seconds[name] for name in sorted(self._seconds, key=_OTHER.__eq__)}
        return {name: round(value, 3) for name, value in ordered.items() if value >= 0.001}

    def _switch(self) -> None:
        if self._since is not None:
            now = time.monotonic()
            self._seconds[self._open[-1]] += now - self._since
            self._since = now

    def go_on(self) -> None:
        """Lets it run, if it stands still."""
        self._since = self._since or time.monotonic()

    def halt(self) -> None:
        """Lets it stand still until `go_on`."""
        self._switch()
        self._since = None

    def begin(self, name: str) -> None:
        """Begins a stage within the one that is going on, if any, whose time stands still meanwhile."""
        self._switch()
        self._open[0] = _OTHER
        self._seconds.setdefault(_OTHER, 0.0)
        self._seconds.setdefault(name, 0.0)
        self._open.append(name)

    def end(self) -> None:
        """Ends the stage that began last."""
        self._switch()
        self._open.pop()


_CURRENT: contextvars.ContextVar[Stopwatch | None] = contextvars.ContextVar("stopwatch", default=None)


@contextlib.contextmanager
def recorded(watch: Stopwatch | None = None) -> Iterator[Stopwatch]:
    """Gives the stopwatch that all stages within the block are taken with.

    Args:
        watch: The one to go on with, where none is in use; a new one where not given.
    """
    if current := _CURRENT.get():
        yield current
        return
    watch = watch or Stopwatch()
    token = _CURRENT.set(watch)
    watch.go_on()
    try:
        yield watch
    finally:
        watch.halt()
        _CURRENT.reset(token)


def current() -> Stopwatch | None:
    """Gives the stopwatch in use, if any."""
    return _CURRENT.get()


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


def in_one_line(seconds: Mapping[str, float]) -> str:
    """Words the seconds of stages and their sum; stages of less than 0.05 s are not named."""
    named = ", ".join(f"{name} {value:.1f}" for name, value in seconds.items() if value >= 0.05)
    return f"time {sum(seconds.values()):.1f} s: {named}"
