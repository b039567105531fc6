"""The output of several processes on one terminal: whole lines, each with the number of its process before it."""

from __future__ import annotations

import os
import re
import select
import threading
import time
from collections.abc import Callable, Iterator

# Longer lines are cut into several.
_LONGEST = 2**16
# A bar that is drawn anew again and again is shown once in this many seconds, and in its last state.
_REDRAWN = 1.0
# A line ends with a newline. What ends with a carriage return is overwritten by what comes next.
_END = re.compile(rb"\r?\n|\r(?!\n|\Z)")


def pass_on(source: int, prefix: bytes, write: Callable[[bytes], None], is_over: Callable[[], bool]) -> None:
    """Reads a pipe to its end and writes what comes line by line, with the prefix before each line.

    Args:
        source: The pipe.
        prefix: What stands before each line.
        write: Writes one line.
        is_over: Says whether its process has ended: then what is in the pipe is the rest, though another may hold it.
    """
    rest, redrawn = b"", 0.0
    for piece in _pieces(source, is_over):
        rest += piece
        done = 0
        for ended in _END.finditer(rest):
            line, done = rest[done : ended.start()], ended.end()
            if ended[0] != b"\r":
                write(prefix + line + b"\n")
            elif line and time.monotonic() - redrawn >= _REDRAWN:
                redrawn = time.monotonic()
                write(prefix + line + b"\n")
        rest = rest[done:]
        while len(rest) > _LONGEST:
            write(prefix + rest[:_LONGEST] + b"\n")
            rest = rest[_LONGEST:]
    if rest.strip(b"\r"):
        write(prefix + rest.strip(b"\r") + b"\n")


def _pieces(source: int, is_over: Callable[[], bool]) -> Iterator[bytes]:
    while True:
        was_over = is_over()
        if select.select([source], [], [], 0.2)[0]:
            piece = os.read(source, 2**16)
            if not piece:
                return
            yield piece
        elif was_over:
            return


class Output:
    """Writes whole lines to the standard output or error of this process, for several threads.

    Attributes:
        is_broken: Whether nobody reads it any more; what is written then is lost.
    """

    _lock = threading.Lock()

    def __init__(self, stream: int):
        self._stream = stream
        self.is_broken = False

    def write(self, line: bytes) -> None:
        """Writes a line to its end."""
        with self._lock:
            while line and not self.is_broken:
                try:
                    line = line[os.write(self._stream, line) :]
                except BlockingIOError:
                    time.sleep(0.01)
                except BrokenPipeError:
                    self.is_broken = True
                except OSError:
                    # A full disk is no reason to stop working.
                    return
