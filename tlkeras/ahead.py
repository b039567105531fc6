"""Work that overlaps: what comes next is made while the last is still in use, and the order stays."""

from __future__ import annotations

import collections
import contextlib
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent import futures
from concurrent.futures import Future
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


def in_order(function: Callable[[T], U], inputs: Iterable[T], at_once: int = 2, wait: bool = True) -> Iterator[U]:
    """Gives the outcome for each input in order, and works on so many at once, each in a thread.

    Args:
        function: What is done.
        inputs: Taken as they are needed.
        at_once: How many are worked on.
        wait: When this ends early, or the process does, wait until those that were begun are done.
    """
    begun: collections.deque[Future] = collections.deque()
    try:
        for one in inputs:
            begun.append(_begin(function, one, wait))
            if len(begun) == at_once:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        if wait:
            futures.wait(begun)


def _begin(function: Callable[[T], U], one: T, wait: bool) -> Future[U]:
    future: Future[U] = Future()

    def work() -> None:
        try:
            future.set_result(function(one))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, daemon=not wait, name="at once").start()
    return future
