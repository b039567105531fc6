"""A small process that outlives the launcher, and ends what that started if it was killed."""

from __future__ import annotations

import contextlib
import os
import signal
import time


class Guard:
    """Ends groups of processes as soon as this process is gone, however that came about; `dismiss` calls it off.

    It holds the other end of a pipe, which the system closes with this process.
    """

    def __init__(self, grace: float):
        """Starts the guard; to be called before any thread is.

        Args:
            grace: Seconds between SIGTERM and SIGKILL.
        """
        reading, self._writing = os.pipe()
        if os.fork() == 0:
            # Whatever happens, the copy of the launcher must not go on as a second one.
            try:
                os.close(self._writing)
                os.setsid()
                _stand_by(reading, grace)
            finally:
                os._exit(0)
        os.close(reading)

    def add(self, group: int) -> None:
        """Takes a group into care."""
        os.write(self._writing, b"+%d\n" % group)

    def remove(self, group: int) -> None:
        """Forgets a group, whose number the system may now give to another."""
        os.write(self._writing, b"-%d\n" % group)

    def dismiss(self) -> None:
        """Calls the guard off."""
        os.write(self._writing, b".\n")
        os.close(self._writing)


def _stand_by(reading: int, grace: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    groups: set[int] = set()
    # Its output is the launcher's: whoever waits for the end of that must not wait for the guard.
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)
    with open(reading, "rb") as orders:
        for order in orders:
            if order == b".\n":
                return
            (groups.add if order[:1] == b"+" else groups.discard)(int(order[1:]))
    end(groups, signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(is_there(group) for group in groups) and time.monotonic() < deadline:
        time.sleep(0.05)
    end(groups, signal.SIGKILL)


def end(groups: set[int], number: int) -> None:
    """Sends a signal to all processes of the groups that are still there."""
    for group in groups:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, number)


def is_there(group: int) -> bool:
    """Says whether a group has a process."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
