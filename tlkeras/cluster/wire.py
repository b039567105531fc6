"""What goes over a connection between two workers: JSON with its length before it, and raw bytes where it says so.

Never a pickle, so that nothing that comes in is run. Whoever can reach the port can speak here, as with the servers of
TensorFlow, which ask for no password either: a cluster belongs into a network of its own.
"""

from __future__ import annotations

import contextlib
import errno
import json
import socket
import struct
import time
from collections.abc import Iterator
from typing import BinaryIO

# Said by both sides first: a web browser, a scanner or TensorFlow's own server says something else.
GREETING = b"tlkeras meeting\n"
# Of one message, and of the bytes that the chief shares.
LARGEST_MESSAGE = 2**20
LARGEST_SHARE = 2**35
# A machine that lost its power, or a cut cable, is noticed after this many seconds of silence.
_SILENCE = 25
_CHUNK = 2**20


class Rubbish(Exception):
    """What came is not what a worker says."""


class Gone(Exception):
    """The other side closed the connection or cannot be reached any more."""


@contextlib.contextmanager
def _gone() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Gone(error.strerror or str(error)) from None


def listen(port: int) -> socket.socket:
    """Listens on a port of all interfaces, as TensorFlow's server does afterwards.

    Raises:
        OSError: The port is in use, or not allowed.
    """
    return _bound(port, listening=True)


def reserve(port: int) -> socket.socket:
    """Takes a port without listening on it; whoever knocks is refused.

    Raises:
        OSError: The port is in use, or not allowed.
    """
    return _bound(port, listening=False)


def _bound(port: int, listening: bool) -> socket.socket:
    both = socket.has_dualstack_ipv6()
    bound = socket.socket(socket.AF_INET6 if both else socket.AF_INET)
    try:
        # A port may be bound again whose connections ended a moment ago, or go on after we stopped listening.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if both:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(("", port))
        if listening:
            bound.listen(128)
    except OSError:
        bound.close()
        raise
    return bound


def connect(place: tuple[str, int], timeout: float) -> socket.socket:
    """Connects to a worker.

    Raises:
        OSError: Nobody listens there, or the host is not known or cannot be reached.
    """
    connection = socket.create_connection(place, timeout)
    if connection.getsockname() == connection.getpeername():
        # TCP connects a port of this machine with itself if it happens to choose it for our end.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
    return connection


def keep_watch(connection: socket.socket) -> None:
    """Has the system ask again and again whether the other machine is there, for as long as the connection lives."""
    connection.settimeout(None)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # Not every system has all of them.
    wanted = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3, "TCP_USER_TIMEOUT": _SILENCE * 1000}
    for name, value in wanted.items():
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def send(connection: socket.socket, message: dict, payload: BinaryIO | None = None) -> None:
    """Sends a message, and after it as many bytes of a file as `message["size"]` says.

    Raises:
        Gone: The other side is not there any more.
        ValueError: The message is larger than any may be, or the file is not as long as it says.
    """
    text = json.dumps(message).encode()
    if len(text) > LARGEST_MESSAGE:
        raise ValueError(f"a message of {len(text):,} bytes; at most {LARGEST_MESSAGE:,} are legal")
    with _gone():
        connection.sendall(struct.pack(">I", len(text)) + text)
    left = message.get("size", 0)
    while left:
        chunk = payload.read(min(left, _CHUNK))
        if not chunk:
            raise ValueError(f"a file that became {left:,} bytes shorter while it was read")
        with _gone():
            connection.sendall(chunk)
        left -= len(chunk)


def greet(connection: socket.socket) -> None:
    """Says who speaks, before the first message."""
    with _gone():
        connection.sendall(GREETING)


def expect_greeting(connection: socket.socket, deadline: float) -> None:
    """Reads what the other side says first.

    Raises:
        Rubbish: It is no worker of tlkeras.
        Gone: It said nothing until the deadline, or closed the connection.
    """
    if _exactly(connection, len(GREETING), deadline) != GREETING:
        raise Rubbish("another program answers there")


def receive(connection: socket.socket, deadline: float | None = None) -> dict:
    """Reads one message.

    Raises:
        Rubbish: What came is no message.
        Gone: The other side closed the connection, or said nothing until the deadline of `time.monotonic`.
    """
    (size,) = struct.unpack(">I", _exactly(connection, 4, deadline))
    if size > LARGEST_MESSAGE:
        raise Rubbish(f"a message of {size:,} bytes")
    try:
        message = json.loads(_exactly(connection, size, deadline))
    except (ValueError, RecursionError) as error:
        raise Rubbish("a message that is no JSON") from error
    if not isinstance(message, dict):
        raise Rubbish("a message that is no object")
    return message


def receive_payload(connection: socket.socket, size: int) -> Iterator[bytes]:
    """Reads the bytes that follow a message, piece by piece.

    Raises:
        Rubbish: They are more than may be.
        Gone: The other side closed the connection before the last.
    """
    if type(size) is not int or not 0 <= size <= LARGEST_SHARE:
        raise Rubbish(f"{size!r} bytes at once")
    while size:
        piece = _exactly(connection, min(size, _CHUNK), None)
        size -= len(piece)
        yield piece


def _exactly(connection: socket.socket, size: int, deadline: float | None) -> bytes:
    received = memoryview(bytearray(size))
    filled = 0
    while filled < size:
        with _gone():
            if deadline is not None:
                connection.settimeout(max(deadline - time.monotonic(), 0.001))
            count = connection.recv_into(received[filled:])
        if not count:
            raise Gone("it closed the connection")
        filled += count
    return bytes(received)
