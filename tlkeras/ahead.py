"""Work that overlaps: what comes next is made while the last is still in use, and the order stays."""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T, U = TypeVar("T"), TypeVar("U")

_END = object()


def read_ahead(source: Iterable[T], most: int = 1) -> Iterator[T]:
    """Gives what the source gives, which a thread of its own takes from it: up to so many before they are wanted.

    What the source raises is raised here. The thread may wait for a terminal or a pipe; the process
    does not wait for it.
    """
    made: queue.Queue = queue.Queue(most)
    stopped = threading.Event()

    def take() -> None:
        last = _END
        try:
            for one in source:
                made.put((one, None))
                if stopped.is_set():
                    return
        except BaseException as error:
            last = error
        made.put((_END, last))

    threading.Thread(target=take, daemon=True, name="read ahead").start()
    try:
        while (got := made.get())[0] is not _END:
            yield got[0]
        if isinstance(got[1], BaseException):
            raise got[1]
    finally:
        stopped.set()
        # Lets go a thread that waits for room.
        with contextlib.suppress(queue.Empty):
            while True:
                made.get_nowait()


def in_order(function: Callable[[T], U], inputs: Iterable[T], at_once: int = 2) -> Iterator[U]:
    """Gives the outcome for each input in order, and works on so many at once."""
    with ThreadPoolExecutor(at_once) as pool:
        waiting: collections.deque = collections.deque()
        try:
            for one in inputs:
                waiting.append(pool.submit(function, one))
                if len(waiting) == at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
