"""TensorFlow Serving's REST interface.

Requests are in the column format, with files as base64: https://www.tensorflow.org/tfx/serving/api_rest.
"""

from __future__ import annotations

import base64
import http.client
import json
import queue
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import requests
import urllib3
from urllib3.exceptions import ProtocolError

from tlkeras.client import transport
from tlkeras.client.address import Address
from tlkeras.client.transport import Patience
from tlkeras.errors import TlkerasError

# What a proxy says when the server behind it is not there or does not answer, and what servers say that are busy.
_BUSY = {502, 503, 504}
_OK, _NOT_FOUND, _TOO_LARGE, _TOO_MANY = 200, 404, 413, 429
# What TensorFlow Serving says of a request that it cannot answer, and a proxy of one that is too large.
_REFUSED = {400, _TOO_LARGE, _TOO_MANY, 500}
# Seconds in which what went wrong in time is told.
_WORDING = 0.5
# Seconds at most that a server may ask to wait.
_LONGEST_WAIT = 60.0
_BLOCK = 2**16


class _Reply(NamedTuple):
    """What came back, all of it."""

    status: int
    reason: str
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_ok(self) -> bool:
        return self.status == _OK


class Rest:
    """Speaks to a server through REST; requests of several threads go side by side.

    Args:
        address: Where the model is.
        patience: How long to wait, and how often to try.
    """

    def __init__(self, address: Address, patience: Patience):
        self.address = address
        self._patience = patience
        self._session = requests.Session()

    def signatures(self) -> Mapping[str, Mapping]:
        """As in `tlkeras.client.transport.Transport`."""
        reply, body = self._send("GET", f"{self.address.url}/metadata")
        if reply.is_ok:
            try:
                return dict(body["metadata"]["signature_def"]["signature_def"])
            except transport.FOREIGN as error:
                raise transport.no_serving(self.address, f"its metadata are {_shown(reply)}") from error
        raise self._no_answer(reply, body)

    def predict(self, takes: str, strings: Sequence[bytes]) -> Mapping[str, list]:
        """As in `tlkeras.client.transport.Transport`."""
        # Only what is binary is base64: a text is one in JSON too.
        sent = [
            string.decode() if takes == "text" else {"b64": base64.b64encode(string).decode("ascii")}
            for string in strings
        ]
        asked = json.dumps({"signature_name": "serving_default", "inputs": {takes: sent}})
        reply, body = self._send("POST", f"{self.address.url}:predict", asked.encode())
        if reply.status in _REFUSED and (body is not None or reply.status == _TOO_LARGE):
            raise transport.refusal(_told(reply, body))
        if not reply.is_ok:
            raise self._no_answer(reply, body)
        outputs = None if body is None else body.get("outputs")
        if not isinstance(outputs, dict):
            raise transport.unfit(self.address, f"it is {_shown(reply)}")
        return outputs

    def _no_answer(self, reply: _Reply, body: dict | None) -> TlkerasError:
        if body is None:
            elsewhere = reply.headers.get("Location")
            says = f"that it is at {elsewhere}" if elsewhere else _shown(reply)
            return transport.no_serving(self.address, f"it says {reply.status}, {says}")
        told = _told(reply, body)
        if reply.status == _NOT_FOUND:
            return transport.not_there(self.address, told, self._states())
        return transport.refused(self.address, told)

    def _states(self) -> dict[str, str] | None:
        reply, body = self._send("GET", self.address.model_url)
        try:
            states = body["model_version_status"] if reply.is_ok else ()
            return {str(one["version"]): str(one["state"]) for one in states} or None
        except transport.FOREIGN:
            return None

    def _send(self, method: str, url: str, data: bytes | None = None) -> tuple[_Reply, dict | None]:
        """Gives the answer, and its JSON where it is TensorFlow Serving's: an answer of 200, or an error."""
        pauses = self._patience.pauses()
        while True:
            reply = None
            try:
                reply = self._received(method, url, data)
                body = _body(reply)
                is_busy = reply.status in _BUSY or (reply.status == _TOO_MANY and body is None)
                if not is_busy:
                    return reply, body
                failure = transport.busy(self.address, _told(reply, body), self._patience.tries)
            except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
                failure = self._worded(error)
            pause = next(pauses)
            if pause is None or not isinstance(failure, transport.TryAgain):
                raise failure
            time.sleep(max(pause, _asked_to_wait(reply)))

    def _received(self, method: str, url: str, data: bytes | None) -> _Reply:
        """Waits for an answer, and no longer: a server that sends its headers bit by bit never lets `requests` go."""
        came: queue.SimpleQueue[_Reply | Exception] = queue.SimpleQueue()

        def receive():
            try:
                came.put(self._receive(method, url, data))
            except Exception as error:
                came.put(error)

        threading.Thread(target=receive, daemon=True).start()
        try:
            found = came.get(timeout=self._patience.timeout + _WORDING)
        except queue.Empty:
            raise requests.ReadTimeout from None
        if isinstance(found, Exception):
            raise found
        return found

    def _receive(self, method: str, url: str, data: bytes | None) -> _Reply:
        """Takes an answer as it comes, and no more of it than there may be, in as much time."""
        until = time.monotonic() + self._patience.timeout
        # Packed, a few bytes could be a great many.
        headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        # Where a server sends to is for the user to decide.
        how = {"timeout": self._patience.timeout, "stream": True, "allow_redirects": False}
        with self._session.request(method, url, data=data, headers=headers, **how) as response:
            content = bytearray()
            while part := response.raw.read1(_BLOCK):
                content += part
                if len(content) > transport.MOST_BYTES:
                    raise transport.no_serving(self.address, f"its answer has more than {transport.MOST_BYTES:,} bytes")
                if time.monotonic() > until:
                    raise requests.ReadTimeout
            return _Reply(response.status_code, response.reason, response.headers, bytes(content))

    def _worded(self, error: requests.RequestException | urllib3.exceptions.HTTPError) -> TlkerasError:
        causes = list(_causes(error))
        if isinstance(error, (requests.ReadTimeout, urllib3.exceptions.ReadTimeoutError)):
            return transport.too_slow(self.address, self._patience)
        if isinstance(error, requests.exceptions.SSLError):
            return transport.refused(self.address, f"no safe connection: {causes[-1]}")
        if any(isinstance(cause, http.client.IncompleteRead) for cause in causes):
            return transport.busy(self.address, "its answer broke off", self._patience.tries)
        odd = [cause for cause in causes if isinstance(cause, http.client.HTTPException)]
        if odd and not isinstance(odd[-1], http.client.RemoteDisconnected):
            return transport.no_serving(self.address, "what it says is no HTTP")
        if isinstance(error, (requests.ConnectionError, ProtocolError)):
            why = next(
                (cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror), causes[-1]
            )
            if isinstance(error, requests.ConnectTimeout):
                why = f"no connection within {self._patience.timeout:g} s"
            return transport.no_server(self.address, str(why), self._patience.tries)
        return transport.no_serving(self.address, str(causes[-1]))


def _body(reply: _Reply) -> dict | None:
    try:
        found = json.loads(reply.content)
    except (ValueError, RecursionError):
        return None
    is_ours = isinstance(found, dict) and (reply.is_ok or isinstance(found.get("error"), str))
    return found if is_ours else None


def _told(reply: _Reply, body: dict | None) -> str:
    told = None if body is None else body.get("error")
    return told or f"{reply.status} {reply.reason}"


def _shown(reply: _Reply) -> str:
    kind = reply.headers.get("Content-Type", "without a type").partition(";")[0]
    begins = " ".join(reply.content[:60].decode("utf-8", "replace").split())
    return f"{kind}, {begins!r}" if begins else "an empty page"


def _asked_to_wait(reply: _Reply | None) -> float:
    """Gives the seconds that a server asks to wait, where it does so."""
    asked = "" if reply is None else reply.headers.get("Retry-After", "")
    return min(float(asked), _LONGEST_WAIT) if asked.isdecimal() else 0.0


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Gives an error, and what it was made of: requests wraps urllib3, which wraps what happened."""
    while error is not None:
        yield error
        inner = getattr(error, "reason", None) or next(iter(error.args[::-1]), None)
        if isinstance(error, ProtocolError) and len(error.args) > 1:
            inner = error.args[1]
        error = inner if isinstance(inner, BaseException) else error.__cause__
