"""The chief's side of a meeting: it lets the others in, compares them with itself, and speaks to all of them."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from tlkeras.cluster import wire
from tlkeras.cluster.addresses import Cluster
from tlkeras.cluster.peer import Meeting, end_of, left_before, reason_of, went_away
from tlkeras.errors import TlkerasError, TryAgain

# Seconds that whoever connects has to say who it is, and how many may be about to.
_PATIENCE, _STRANGERS = 10.0, 64


@dataclass
class _Member:
    index: int
    connection: socket.socket
    host: str
    fingerprint: dict
    lock: threading.Lock = field(default_factory=threading.Lock)
    at: str | None = None
    has_left: bool = False
    is_between_messages: bool = True


class Chief(Meeting):
    """Worker 0 of a meeting.

    Raises:
        OSError: Its port cannot be listened on.
    """

    def __init__(self, cluster: Cluster, fingerprint: Mapping):
        super().__init__(cluster)
        self._fingerprint = dict(fingerprint)
        self._members: dict[int, _Member] = {}
        self._strangers = threading.Semaphore(_STRANGERS)
        self._is_complete = False
        self._port_is_wanted = True
        self._port = wire.listen(cluster.place(0)[1])
        self._port.settimeout(0.1)
        self._doorman = threading.Thread(target=self._open_door, daemon=True)
        self._doorman.start()

    def gather(self, timeout: float) -> None:
        """Waits for all workers and compares them with this one.

        Raises:
            TryAgain: Some did not come within `timeout` seconds.
            TlkerasError: Two have the same number, or one differs.
        """
        everyone = self._await(lambda: len(self._members) == self.cluster.size - 1, timeout)
        with self._news:
            missing = [index for index in range(1, self.cluster.size) if index not in self._members]
            self._is_complete = not missing
            members = [self._members[index] for index in sorted(self._members)]
        differing = [text for member in members if (text := self._difference(member))]
        if differing:
            self._fail(TlkerasError("; ".join(differing)))
        elif missing or not everyone:
            names = ", ".join(f"{self.cluster.name(index)}{self._unknown_host(index)}" for index in missing)
            self._fail(TryAgain(f"{names} did not come within {timeout:g} s; start all workers again"))
        if self.failure:
            raise self.failure
        self.wait("all are here")

    def _unknown_host(self, index: int) -> str:
        try:
            socket.getaddrinfo(*self.cluster.place(index))
        except OSError:
            return ", whose host's name is not known here,"
        return ""

    def _difference(self, member: _Member) -> str:
        mine, theirs = self._fingerprint, member.fingerprint
        keys = [key for key in {**mine, **theirs} if mine.get(key) != theirs.get(key)]
        pairs = ", ".join(f"{key} {_shown(theirs.get(key))} != {_shown(mine.get(key))}" for key in keys)
        return f"{self.cluster.name(member.index)} differs from {self.cluster.name(0)}: {pairs}" if keys else ""

    def _open_door(self) -> None:
        with self._port:
            while self._port_is_wanted:
                with contextlib.suppress(OSError):
                    connection, (host, *_) = self._port.accept()
                    if self._strangers.acquire(blocking=False):
                        self._start(self._serve, connection, host.removeprefix("::ffff:"))
                    else:
                        connection.close()

    def _serve(self, connection: socket.socket, host: str) -> None:
        with connection:
            try:
                deadline = time.monotonic() + _PATIENCE
                wire.expect_greeting(connection, deadline)
                member = self._admit(connection, host, wire.receive(connection, deadline))
            except (wire.Rubbish, wire.Gone, OSError):
                return
            finally:
                self._strangers.release()
            if member:
                self._listen_to(member)
            end_of(connection)

    def _admit(self, connection: socket.socket, host: str, hello: dict) -> _Member | None:
        wire.keep_watch(connection)
        wire.greet(connection)
        index, fingerprint = hello.get("worker"), hello.get("fingerprint")
        if type(index) is not int or not isinstance(fingerprint, dict):
            raise wire.Rubbish("no worker")
        with self._news:
            is_late = self._is_complete
            if index == 0:
                problem = f"two processes say that they are {self.cluster.name(0)}: one on this host, one on {host}"
            elif not 0 < index < self.cluster.size:
                workers = _shown(fingerprint.get("workers"))
                problem = f"worker {index} has other workers in its TF_CONFIG than {self.cluster.name(0)}: {workers}"
            elif index in self._members:
                first = self._members[index].host
                problem = f"two processes say that they are {self.cluster.name(index)}: one on {first}, one on {host}"
            else:
                problem = ""
                member = self._members[index] = _Member(index, connection, host, fingerprint)
        if problem:
            wire.send(connection, {"stop": problem})
            if not is_late:
                self._fail(TlkerasError(problem))
            return None
        with member.lock:
            wire.send(connection, {"welcome": True})
        with self._news:
            self._news.notify_all()
        return member

    def _listen_to(self, member: _Member) -> None:
        error = went_away(self.cluster.name(member.index))
        with contextlib.suppress(wire.Gone, wire.Rubbish):
            while "at" in (message := wire.receive(member.connection)):
                with self._news:
                    member.at = message["at"]
                    self._news.notify_all()
            error = reason_of(message) if "stop" in message else None
        with self._news:
            member.has_left = error is None
            if not self._is_complete:
                # It may come again as long as others are waited for, unless it said that it cannot.
                self._members.pop(member.index, None)
                error = None if isinstance(error, TryAgain) else error
            self._news.notify_all()
        if error:
            self._stop_all(error)

    def _stop_all(self, error: TlkerasError) -> None:
        self._tell({"stop": str(error), "again": isinstance(error, TryAgain)})
        self._fail(error)

    def _exchange(self, point: str, file: BinaryIO, form: str = "") -> str:
        point = self._point(point)
        members = list(self._members.values())
        self._await(lambda: all(member.at or member.has_left for member in members))
        for member in members:
            name = self.cluster.name(member.index)
            if not member.at:
                error = left_before(name)
                self._stop_all(error)
                raise error
            if member.at != point:
                raise RuntimeError(f"{name} is at {member.at!r} when the chief is at {point!r}")
            member.at = None
        size = file.seek(0, 2)
        if size > wire.LARGEST_SHARE:
            raise ValueError(f"{size:,} bytes to share; at most {wire.LARGEST_SHARE:,} are legal")
        for member in members:
            file.seek(0)
            # Who does not get it has gone, which its own thread finds out.
            with member.lock, contextlib.suppress(wire.Gone):
                member.is_between_messages = False
                wire.send(member.connection, {"go": point, "form": form, "size": size}, file)
                member.is_between_messages = True
        return form

    def _tell(self, message: dict) -> None:
        for member in list(self._members.values()):
            with member.lock, contextlib.suppress(wire.Gone):
                # What is said in the middle of a file would become a part of it.
                if member.is_between_messages:
                    wire.send(member.connection, message)

    def _hang_up(self) -> None:
        for member in list(self._members.values()):
            end_of(member.connection)

    def _close_port(self) -> None:
        self._port_is_wanted = False
        self._doorman.join()


def _shown(value) -> str:
    text = " ".join(str("nothing" if value is None else value).split())
    return text if len(text) <= 200 else f"{text[:200]}…"
