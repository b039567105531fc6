"""Where a served model is: the address of TensorFlow Serving with the name of the model, and of a version of it."""

from __future__ import annotations

import dataclasses
import re
from urllib.parse import quote, unquote, urlsplit

from tlkeras.errors import TlkerasError
from tlkeras.versions import HIGHEST

_FORMS = "http://HOST:8501/v1/models/NAME or grpc://HOST:8500/v1/models/NAME, and /versions/N or /labels/LABEL after it"
_PATH = re.compile(
    r"(?P<before>.*?)/v1/models/(?P<name>[^/:]+)(?:/versions/(?P<version>[0-9]{1,19})|/labels/(?P<label>[^/:]+))?"
    r"(?:/metadata|:predict)?/?"
)


@dataclasses.dataclass(frozen=True)
class Address:
    """A model on a server; `before` is what comes before `/v1` where a proxy adds a path.

    Of `version` and `label` at most one is given; without them the newest version answers.
    """

    scheme: str
    place: str
    before: str
    name: str
    version: int | None = None
    label: str | None = None

    @property
    def model_url(self) -> str:
        """The address of the model in REST, without a version."""
        return f"{self.scheme}://{self.place}{self.before}/v1/models/{quote(self.name, safe='')}"

    @property
    def url(self) -> str:
        """The address of the version in REST, or of the model where no version is asked for."""
        if self.version is not None:
            return f"{self.model_url}/versions/{self.version}"
        return self.model_url if self.label is None else f"{self.model_url}/labels/{quote(self.label, safe='')}"

    @property
    def wanted(self) -> str:
        """The model in words."""
        version = f" in version {self.version}" if self.version is not None else ""
        return f"model {self.name!r}{version or (f' with the label {self.label!r}' if self.label else '')}"

    @property
    def server(self) -> str:
        """The server in words, without a password."""
        return f"{self.scheme}://{self.place.rpartition('@')[2]}"


def parse(server: str) -> Address:
    """Reads an address.

    Raises:
        TlkerasError: It has another form; the message shows the forms.
    """
    try:
        parts = urlsplit(server.strip())
        has_port = parts.port is not None
        server.encode()
    except ValueError as error:
        raise TlkerasError(f"no address of a server: {error}. Legal: {_FORMS}. Received: {server!r}") from error
    found = _PATH.fullmatch(parts.path)
    if parts.scheme not in ("http", "https", "grpc") or not parts.hostname or not found or parts.query:
        raise TlkerasError(f"no address of a model on a server. Legal: {_FORMS}. Received: {server!r}")
    if parts.scheme == "grpc" and (not has_port or found["before"] or "@" in parts.netloc):
        raise TlkerasError(
            f"gRPC needs a port, and neither a user nor a path before /v1. Legal: {_FORMS}. Received: {server!r}"
        )
    version = None if found["version"] is None else int(found["version"])
    if version is not None and version > HIGHEST:
        raise TlkerasError(f"a version is a number up to {HIGHEST}. Received: {server!r}")
    label = unquote(found["label"]) if found["label"] else None
    return Address(parts.scheme, parts.netloc, found["before"], unquote(found["name"]), version, label)
