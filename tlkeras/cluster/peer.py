"""What both sides of a meeting have in common: waiting for the others, and hearing that one of them went away."""

from __future__ import annotations

import abc
import contextlib
import io
import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from tlkeras.cluster.addresses import Cluster
from tlkeras.errors import TlkerasError, TryAgain, in_one_line
from tlkeras.files import written_aside

# Seconds in which the others are to say goodbye as well.
_FAREWELL = 2.0


class Meeting(abc.ABC):
    """The workers of a cluster, connected with the chief from before TensorFlow starts until the end of the training.

    A context manager: left with an exception, it tells the others why; left without one, it says goodbye. All workers
    call `share`, `share_file`, `wait` and `free_port` in the same order.

    Attributes:
        cluster: Who takes part.
        failure: Why the training cannot go on, as soon as that is known; else None.
    """

    def __init__(self, cluster: Cluster):
        self.cluster = cluster
        self.failure: TlkerasError | None = None
        self._news = threading.Condition()
        self._threads: list[threading.Thread] = []
        self._on_failure: Callable[[TlkerasError], None] | None = None
        self._is_waiting = self._is_closed = False
        self._calls = 0

    @abc.abstractmethod
    def gather(self, timeout: float) -> None:
        """Waits at most so many seconds until all workers are here and agree."""

    def share(self, make: Callable[[], object]) -> object:
        """Has the chief make a value, and gives it to all: bytes, or whatever JSON has, as it comes out of JSON.

        Args:
            make: Called by the chief alone. What it raises stops the others with one line.

        Raises:
            TlkerasError: The chief could not make it, or a worker went away (`TryAgain`).
        """
        if self.failure:
            raise self.failure
        value = make() if self.cluster.is_chief else b""
        form = "bytes" if isinstance(value, bytes) else "json"
        file = io.BytesIO(value if form == "bytes" else json.dumps(value).encode())
        form = self._exchange("share", file, form)
        return file.getvalue() if form == "bytes" else json.loads(file.getvalue())

    def share_file(self, path: str | os.PathLike) -> None:
        """Copies the chief's file to the `path` that each other worker names; whole, or not at all.

        Raises:
            OSError: The chief cannot read it.
            TlkerasError: A worker cannot write it, or went away (`TryAgain`).
        """
        if self.cluster.is_chief:
            with Path(path).open("rb") as file:
                self._exchange("share_file", file)
        else:
            with written_aside(path) as aside, aside.open("wb") as file:
                self._exchange("share_file", file)

    def wait(self, name: str) -> None:
        """Waits until all workers have come to the point of this name.

        Raises:
            TlkerasError: A worker stopped before it, or went away (`TryAgain`).
        """
        self._exchange(f"wait {name}", io.BytesIO())

    def free_port(self) -> None:
        """Lets go of the ports for TensorFlow's servers; afterwards they are free in all workers."""
        self._close_port()
        self.wait("ports are free")

    def await_failure(self, seconds: float) -> TlkerasError | None:
        """Gives `failure`, for which it waits a while: TensorFlow may have raised something of its own before."""
        with self._news:
            self._news.wait_for(lambda: self.failure, seconds)
        return self.failure

    def watch(self, on_failure: Callable[[TlkerasError], None]) -> None:
        """Has `on_failure` called, in another thread, when the training cannot go on since a worker has gone.

        It is not called where `share` or `wait` raise the same. TensorFlow may hang by then: what is called had better
        end the process.

        Raises:
            TlkerasError: That is so already.
        """
        with self._news:
            self._on_failure = on_failure
            if self.failure:
                raise self.failure

    def close(self) -> None:
        """Says goodbye: that this worker goes is no failure for the others."""
        self._leave({"bye": True})

    def __enter__(self) -> Meeting:
        return self

    def __exit__(self, kind, error: BaseException | None, trace) -> None:
        if error is None or (isinstance(error, SystemExit) and not error.code):
            self.close()
        elif error is self.failure:
            self._leave(stop(error))
        else:
            again = isinstance(error, TryAgain) or not isinstance(error, (TlkerasError, OSError))
            reason = in_one_line(error) if isinstance(error, (TlkerasError, OSError)) else kind.__name__
            text = f"{self.cluster.name(self.cluster.index)} stopped: {reason}"
            self._leave(stop(TryAgain(text) if again else TlkerasError(text)))

    @abc.abstractmethod
    def _exchange(self, point: str, file: BinaryIO, form: str = "") -> str:
        """Waits for all to be at a point; then the chief's file is in those of the others. Gives the chief's form."""

    @abc.abstractmethod
    def _close_port(self) -> None:
        """Lets go of the port of this worker."""

    @abc.abstractmethod
    def _tell(self, message: dict) -> None:
        """Tells those that this worker is connected with; who does not hear it is passed over."""

    @abc.abstractmethod
    def _hang_up(self) -> None:
        """Ends what this worker sends on its connections."""

    def _point(self, name: str) -> str:
        self._calls += 1
        return f"{self._calls}: {name}"

    def _leave(self, message: dict) -> None:
        with self._news:
            if self._is_closed:
                return
            self._is_closed = True
        self._tell(message)
        self._hang_up()
        self._close_port()
        threads = [thread for thread in self._threads if thread is not threading.current_thread()]
        for thread in threads:
            thread.join(_FAREWELL / len(threads))

    def _start(self, target: Callable, *arguments) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads = [*(thread for thread in self._threads if thread.is_alive()), thread]
        thread.start()

    def _await(self, is_ready: Callable[[], bool], timeout: float | None = None) -> bool:
        with self._news:
            self._is_waiting = True
            try:
                ready = self._news.wait_for(lambda: self.failure or is_ready(), timeout)
            finally:
                self._is_waiting = False
            if self.failure:
                raise self.failure
            return bool(ready)

    def _fail(self, error: TlkerasError) -> None:
        with self._news:
            if self.failure or self._is_closed:
                return
            self.failure = error
            call = None if self._is_waiting else self._on_failure
            self._news.notify_all()
        if call:
            call(error)


def stop(error: TlkerasError) -> dict:
    """Words the message of a worker that stops."""
    return {"stop": str(error)[:20_000], "again": isinstance(error, TryAgain)}


def reason_of(message: dict) -> TlkerasError:
    """Turns the message of a worker that stops into the error that stops this one."""
    text = "".join(letter for letter in " ".join(str(message["stop"]).split()) if letter.isprintable())
    return TryAgain(text) if message.get("again") else TlkerasError(text)


def went_away(name: str) -> TryAgain:
    """Words the error for a worker that went without a goodbye."""
    return TryAgain(f"{name} went away; start all workers again with --resume")


def left_before(name: str) -> TryAgain:
    """Words the error for a worker that said goodbye when others still needed it."""
    return TryAgain(f"{name} left before the others; start all workers again with --resume")


def end_of(connection: socket.socket) -> None:
    """Ends what this side sends on a connection; the other side then ends as well."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
