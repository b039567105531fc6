"""What goes between the workers of Ray and the command that started them: the chief's output, errors, a wish to leave.

Ray would pass on all that its processes write, with the number of a process before each line and lines of its own
between them. Here the chief's output comes as it was written, and errors come as what they are.
"""

from __future__ import annotations

import contextlib
import io
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from tlkeras import leaving

# Seconds between two deliveries.
_PAUSE = 0.2


class Channel:
    """The actor in the middle, which both sides call; it has no CPU of its own."""

    def __init__(self):
        self._told = Told()
        self._asked = False

    def begin(self, worker: int) -> None:
        """Tells that a worker has begun."""
        self._told.begun.add(worker)

    def write(self, pieces: list[tuple[int, str]]) -> bool:
        """Takes what the chief wrote, each piece with its stream; says whether the workers are asked to leave."""
        self._told.pieces += pieces
        return self._asked

    def fail(self, worker: int, error: Exception | str) -> None:
        """Takes why a worker ended: an error, or the text of one that nobody foresaw."""
        self._told.errors.append((worker, error))

    def take(self) -> Told:
        """Gives the command what has come; text is given once."""
        told, self._told = self._told, Told(self._told.begun, errors=self._told.errors)
        return told

    def ask_to_leave(self) -> None:
        """Has the chief leave between two steps, which ends the others as well."""
        self._asked = True


@dataclass
class Told:
    """What the workers told."""

    begun: set[int] = field(default_factory=set)
    pieces: list[tuple[int, str]] = field(default_factory=list)
    errors: list[tuple[int, Exception | str]] = field(default_factory=list)


@contextlib.contextmanager
def connected_output(
    channel, environment: Mapping[str, str], terminals: Mapping[int, bool]
) -> Iterator[Callable[[], None]]:
    """Sends what this process writes to its standard output and error to the channel while the block runs.

    Args:
        channel: Handle of the actor.
        environment: What the terminal of the command can do: TERM, COLUMNS and the like.
        terminals: Whether 1, the command's standard output, and 2, its standard error, are terminals.

    Yields:
        A function that sends at once what was written so far.
    """
    os.environ.update(environment)
    outbox = _Outbox(channel)
    streams = {number: _Stream(outbox, number, terminals[number]) for number in (1, 2)}
    with contextlib.redirect_stdout(streams[1]), contextlib.redirect_stderr(streams[2]):
        thread = threading.Thread(target=outbox.deliver, daemon=True)
        thread.start()
        try:
            yield outbox.send
        finally:
            outbox.is_over.set()
            thread.join()


class _Outbox:
    def __init__(self, channel):
        self._channel = channel
        self._lock, self._sending = threading.Lock(), threading.Lock()
        self._pieces: list[tuple[int, str]] = []
        self.is_over = threading.Event()

    def add(self, number: int, text: str) -> None:
        with self._lock:
            self._pieces.append((number, text))

    def send(self) -> None:
        import ray

        # One after the other: text must not overtake text.
        with self._sending:
            with self._lock:
                pieces, self._pieces = self._pieces, []
            if ray.get(self._channel.write.remote(pieces)):
                leaving.ask()

    def deliver(self) -> None:
        from ray.exceptions import RayError

        # Where nobody reads any more, Ray is about to end this process.
        with contextlib.suppress(RayError):
            while not self.is_over.wait(_PAUSE):
                self.send()
            self.send()


class _Stream(io.TextIOBase):
    encoding = "utf-8"

    def __init__(self, outbox: _Outbox, number: int, is_terminal: bool):
        self._outbox, self._number, self._is_terminal = outbox, number, is_terminal

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            # By this click finds out what it writes to.
            raise TypeError(f"text is written here. Received: {type(text).__name__}")
        if text:
            self._outbox.add(self._number, text)
        return len(text)

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self._is_terminal
