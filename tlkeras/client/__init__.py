"""Asks a model that TensorFlow Serving serves, through REST or gRPC; REST needs no TensorFlow here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from tlkeras import asked
from tlkeras.client.address import parse
from tlkeras.client.layout import Layout, answers
from tlkeras.client.transport import Patience, Transport
from tlkeras.errors import TlkerasError
from tlkeras.predictions import Answer, Predictions

__all__ = ["Patience", "connect", "predict"]

# In a request; as base64 it is a third more. Proxies often refuse more than some dozens.
_MOST_BYTES = 2**24


def predict(
    server: str,
    files: Iterable[str | Path] = (),
    top_k: int = 5,
    batch_size: int = 32,
    *,
    texts: Iterable[str] = (),
    lines: Iterable[bytes] = (),
    patience: Patience | None = None,
) -> Predictions:
    """Names the classes of files or texts as `tlkeras.predict.predict` does, with a model on a server.

    Args:
        server: `http://HOST:8501/v1/models/NAME`, https likewise, or `grpc://HOST:8500/v1/models/NAME`; with
            `/versions/N` or `/labels/LABEL` after it for one version.
        files: As there.
        top_k: Classes to name for each; as many as the server names where these are fewer.
        batch_size: Files in a request, and fewer where they have more than 16 MB.
        texts: As there.
        lines: As there.
        patience: How long to wait, and how often to try.

    Raises:
        TlkerasError: The address is none, there is no such model on the server, the model is none of tlkeras, or what
            is named cannot be predicted. While the predictions are taken: the server refuses all requests.
        TryAgain: There is no server, or it is busy or silent, now or while the predictions are taken.
    """
    if top_k < 1 or batch_size < 1:
        raise TlkerasError(f"top_k and batch_size are 1 or more. Received: {top_k} and {batch_size}")
    files = list(files)
    asked.refuse_missing(files)
    remote = _Remote(connect(server, patience or Patience()), top_k)
    return Predictions(remote, asked.find(files, remote.is_text, lines, texts), batch_size)


def connect(server: str, patience: Patience) -> Transport:
    """Makes what speaks to a server; nothing is sent yet.

    Raises:
        TlkerasError: The address is none.
    """
    address = parse(server)
    if address.scheme == "grpc":
        from tlkeras.client.rpc import Rpc

        return Rpc(address, patience)
    from tlkeras.client.rest import Rest

    return Rest(address, patience)


class _Remote:
    """A model on a server."""

    # Who presses Ctrl-C does not want to wait for a server that does not answer.
    most_bytes, may_be_left = _MOST_BYTES, True

    def __init__(self, transport: Transport, top_k: int):
        self._transport = transport
        self._layout = Layout.of(transport.signatures(), transport.address)
        self.is_text, self.has_unknown = self._layout.takes == "text", self._layout.has_unknown
        self.top_k = min(top_k, self._layout.top_k or top_k)

    def answer(self, strings: Sequence[bytes]) -> list[Answer]:
        outputs = self._transport.predict(self._layout.takes, strings)
        return answers(outputs, len(strings), self._layout, self.top_k, self._transport.address)

    def reason(self, content: bytes, told: str) -> str:
        """Gives what the server said."""
        return told
