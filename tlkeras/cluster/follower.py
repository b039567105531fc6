"""The side of a meeting of all workers but the chief: it finds the chief, and hears from it how the others are."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Mapping
from typing import BinaryIO

from tlkeras.cluster import wire
from tlkeras.cluster.addresses import Cluster
from tlkeras.cluster.peer import Meeting, end_of, left_before, reason_of, stop, went_away
from tlkeras.errors import TlkerasError, TryAgain

# Seconds for one attempt to connect, for the chief's answer, and between two attempts.
_ATTEMPT, _ANSWER, _PAUSE = 5.0, 10.0, 0.5


class Follower(Meeting):
    """A worker of a meeting that is not the chief.

    Raises:
        OSError: Its port cannot be taken.
    """

    def __init__(self, cluster: Cluster, fingerprint: Mapping):
        super().__init__(cluster)
        self._fingerprint = dict(fingerprint)
        self._port = wire.reserve(cluster.place(cluster.index)[1])
        self._connection: socket.socket | None = None
        self._go: dict = {}
        self._chief_has_left = False
        self._sink: BinaryIO | None = None

    def gather(self, timeout: float) -> None:
        """Connects with the chief and waits with it for the others.

        Raises:
            TryAgain: The chief, or another worker, did not come within `timeout` seconds.
            TlkerasError: Two have the same number, one differs, or another program has the chief's port.
        """
        try:
            self._connection = _find_chief(self.cluster, self._fingerprint, timeout)
        except (wire.Gone, wire.Rubbish):
            raise TlkerasError(
                f"{self.cluster.name(0)} did not come within {timeout:g} s: another program has its port; end that, "
                f"or name another port in TF_CONFIG of all workers"
            ) from None
        except OSError as error:
            raise TryAgain(
                f"{self.cluster.name(0)} did not come within {timeout:g} s: {_why(error)}; start all workers again"
            ) from None
        self._start(self._listen)
        self.wait("all are here")

    def _listen(self) -> None:
        error: TlkerasError | None = went_away(self.cluster.name(0))
        with self._connection, contextlib.suppress(wire.Gone, wire.Rubbish):
            while "go" in (message := wire.receive(self._connection)):
                try:
                    for piece in wire.receive_payload(self._connection, message.get("size")):
                        self._sink.write(piece)
                except (OSError, ValueError) as problem:
                    name = self.cluster.name(self.cluster.index)
                    error = TlkerasError(f"{name} cannot write what the chief shares: {problem}")
                    break
                with self._news:
                    self._go = message
                    self._news.notify_all()
            else:
                error = reason_of(message) if "stop" in message else None
            end_of(self._connection)
        with self._news:
            self._chief_has_left = error is None
            self._news.notify_all()
        if error:
            self._fail(error)

    def _exchange(self, point: str, file: BinaryIO, form: str = "") -> str:
        point, self._sink = self._point(point), file
        if self.failure:
            raise self.failure
        self._tell({"at": point})
        self._await(lambda: self._go.get("go") == point or self._chief_has_left)
        if self._go.get("go") != point:
            raise left_before(self.cluster.name(0))
        return self._go.get("form", "")

    def _tell(self, message: dict) -> None:
        # That the chief has gone is found out by the thread that listens.
        if self._connection:
            with contextlib.suppress(wire.Gone):
                wire.send(self._connection, message)

    def _hang_up(self) -> None:
        if self._connection:
            end_of(self._connection)

    def _close_port(self) -> None:
        self._port.close()


def report(cluster: Cluster, fingerprint: Mapping, error: TlkerasError) -> str:
    """Tells the chief, where it is there, why this worker does not come; the others need not wait for it then.

    Returns:
        Why the chief would not have it, where that is so.
    """
    try:
        with _find_chief(cluster, fingerprint, _ATTEMPT) as connection, contextlib.suppress(wire.Gone):
            wire.send(connection, stop(TlkerasError(f"{cluster.name(cluster.index)} stopped: {error}")))
            end_of(connection)
    except (OSError, wire.Gone, wire.Rubbish):
        pass
    except TlkerasError as answer:
        return str(answer)
    return ""


def _find_chief(cluster: Cluster, fingerprint: Mapping, timeout: float) -> socket.socket:
    hello = {"worker": cluster.index, "fingerprint": dict(fingerprint)}
    deadline = time.monotonic() + timeout
    while True:
        try:
            return _knock(cluster, hello, deadline)
        except (OSError, wire.Gone, wire.Rubbish):
            if time.monotonic() + _PAUSE >= deadline:
                raise
        time.sleep(_PAUSE)


def _knock(cluster: Cluster, hello: dict, deadline: float) -> socket.socket:
    connection = wire.connect(cluster.place(0), _attempt(deadline, _ATTEMPT))
    with contextlib.ExitStack() as failed:
        failed.enter_context(connection)
        wire.greet(connection)
        wire.send(connection, hello)
        until = time.monotonic() + _attempt(deadline, _ANSWER)
        wire.expect_greeting(connection, until)
        answer = wire.receive(connection, until)
        if "stop" in answer:
            raise reason_of(answer)
        wire.keep_watch(connection)
        failed.pop_all()
    return connection


def _attempt(deadline: float, most: float) -> float:
    return max(min(most, deadline - time.monotonic()), 0.1)


def _why(error: OSError) -> str:
    if isinstance(error, socket.gaierror):
        return "the name of its host is not known here"
    if isinstance(error, ConnectionRefusedError):
        return "the host is there and refuses the connection, so that no chief was started there"
    reason = "no answer" if isinstance(error, TimeoutError) else getattr(error, "strerror", None) or str(error)
    return f"its host cannot be reached ({reason})"
