"""Downloads over HTTP(S) that go on where they stopped and give whole, checked files or none.

`keras.utils.get_file` writes under the final name: what a killed process leaves there passes for the file. It cannot
resume either. Here a partial file stands beside the target until it is whole and has the right hash.
"""

from __future__ import annotations

import errno
import http.client
import itertools
import json
import re
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tlkeras import files
from tlkeras.checksums import difference
from tlkeras.errors import TlkerasError

_CHUNK = 2**18
# Where nothing is known of the file: several times the largest of Keras.
_MOST_BYTES = 2**33
# Seconds without a single byte.
_TIMEOUT = 30
# Pauses in seconds before another attempt; the count starts anew whenever one got further than all before it.
_PAUSES = (0.2, 0.5, 1.0)
# All attempts together, and one more for every mebibyte: a server that sends a few bytes at a time leads nowhere.
_MOST_ATTEMPTS = 20
_WORTH_ANOTHER = (408, 416, 429, 500, 502, 503, 504)
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class _Broken(Exception):
    """The connection broke, or the answer was cut short: another attempt may go further."""


class _Origin(NamedTuple):
    """What the bytes of a partial file are of: they are added to only as long as the server has the same file."""

    url: str
    validator: str


class _Wanted(NamedTuple):
    url: str
    most_bytes: int
    progress: Callable[[int, int | None], None]


def download(
    url: str,
    target: Path,
    *,
    sha256: str | None = None,
    md5: str | None = None,
    most_bytes: int = _MOST_BYTES,
    progress: Callable[[int, int | None], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Downloads a file; one that is there already with the right hash is left alone.

    Several processes may download the same file: one does, the others wait for it. Proxies are those of the environment
    (`https_proxy`, `no_proxy`, …), certificates those of the system or `SSL_CERT_FILE`.

    Args:
        url: An http or https address. One that is https is not followed to one that is not.
        target: Where the file is to stand.
        sha256: Hash that it must have.
        md5: The same, where no SHA-256 is known.
        most_bytes: A server that sends more than that is cut off, and nothing of it is kept.
        progress: Called with the bytes there are and those there will be, if the server says.
        say: Called with a line whenever another attempt is made.

    Raises:
        TlkerasError: The file cannot be had, or is another. What was received is kept for the next call, unless it is
            wrong.
        OSError: The file cannot be written; of a full disk nothing is kept either.
    """
    if not re.match(r"https?://[!-~]+$", url):
        raise TlkerasError(f"only http and https addresses can be downloaded. Received: {url!r}")
    with files.partial_of(target) as partial:
        if target.is_file() and not difference(target, sha256, md5):
            return
        _fill(partial, _Wanted(url, most_bytes, progress or (lambda done, total: None)), say or (lambda line: None))
        if wrong := difference(partial, sha256, md5):
            _discard(partial)
            raise TlkerasError(f"{url} gave another file than expected ({wrong}); nothing of it was kept")
        partial.replace(target)
        _note_of(partial).unlink(missing_ok=True)


def _fill(partial: Path, wanted: _Wanted, say: Callable[[str], None]) -> None:
    """Brings the partial file to its full length, in as many attempts as lead further."""
    furthest, failures = 0, 0
    for attempts in itertools.count(1):
        try:
            _attempt(partial, wanted)
            return
        except _Broken as error:
            size = partial.stat().st_size
            failures = 0 if size > furthest else failures + 1
            furthest = max(furthest, size)
            if failures > len(_PAUSES) or attempts >= _MOST_ATTEMPTS + furthest // 2**20:
                raise TlkerasError(
                    f"{wanted.url} could not be downloaded{_proxy(wanted.url)}: {error}, and {attempts} attempts led "
                    f"no further than {furthest:,} bytes"
                ) from None
            say(f"{wanted.url}: {error}; trying again, {size:,} bytes are here")
            time.sleep(_PAUSES[max(0, failures - 1)])


def _attempt(partial: Path, wanted: _Wanted) -> None:
    url = wanted.url
    have, origin = partial.stat().st_size, _read_note(partial)
    headers = {"User-Agent": "tlkeras", "Accept-Encoding": "identity"}
    if have and origin and origin.url == url:
        headers |= {"Range": f"bytes={have}-", "If-Range": origin.validator}
    try:
        answer = _ask(urllib.request.Request(url, headers=headers))
    except urllib.error.HTTPError as error:
        error.close()
        if not _is_complete(error, partial):
            raise _worded_status(error, url) from None
        return
    with answer:
        resumed = answer.status == 206 and _starts_at(answer, have)
        if not resumed:
            _discard(partial)
            if answer.status != 200:
                raise _Broken("the server sent another part than was asked for")
            _write_note(partial, url, answer)
        _receive(answer, partial, have if resumed else 0, wanted)


def _ask(request: urllib.request.Request):
    try:
        # Made anew for each call, as it reads the variables of the environment when it is made.
        return urllib.request.build_opener(_Redirects).open(request, timeout=_TIMEOUT)
    except urllib.error.HTTPError:
        raise
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _worded_failure(error, request.full_url) from None


def _receive(answer, partial: Path, done: int, wanted: _Wanted) -> None:
    length = answer.headers.get("Content-Length", "")
    total = done + int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None
    try:
        with partial.open("ab") as file:
            while chunk := _read(answer):
                done += len(chunk)
                if max(done, total or 0) > wanted.most_bytes:
                    break
                file.write(chunk)
                wanted.progress(done, total)
    except OSError as error:
        if error.errno in _FULL:
            _discard(partial)
        raise
    if max(done, total or 0) > wanted.most_bytes:
        _discard(partial)
        raise TlkerasError(
            f"{wanted.url} sends more than the {wanted.most_bytes:,} bytes that are let in; nothing was kept"
        )
    if total is not None and done < total:
        raise _Broken(f"it ended after {done:,} of {total:,} bytes")


def _read(answer) -> bytes:
    try:
        # What has come by now: bytes that are waited for in vain would be lost with those before them.
        return answer.read1(_CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise _worded_failure(error, answer.url) from None


def _starts_at(answer, position: int) -> bool:
    return answer.headers.get("Content-Range", "").startswith(f"bytes {position}-")


def _is_complete(error: urllib.error.HTTPError, partial: Path) -> bool:
    """Says whether the server refused to send more because there is no more."""
    if error.code != 416:
        return False
    if error.headers.get("Content-Range") == f"bytes */{partial.stat().st_size}":
        return True
    _discard(partial)
    return False


def _worded_status(error: urllib.error.HTTPError, url: str) -> Exception:
    # What Python says of redirections in a circle has several lines.
    said = f"the server said {error.code} {' '.join(str(error.reason).split())[:200]}"
    if error.code in _WORTH_ANOTHER:
        return _Broken(said)
    return TlkerasError(f"{url} could not be downloaded{_proxy(url)}: {said}")


def _worded_failure(error: Exception, url: str) -> Exception:
    reason = getattr(error, "reason", None) or error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return TlkerasError(
            f"{url} could not be downloaded{_proxy(url)}: its certificate is not accepted ({reason.verify_message}); "
            f"SSL_CERT_FILE names a file of certificates to accept"
        )
    return _Broken(getattr(reason, "strerror", None) or str(reason) or type(reason).__name__)


def _proxy(url: str) -> str:
    """Names the proxy that was asked, without the password that may stand in it."""
    address = urlsplit(url)
    proxy = urllib.request.getproxies().get(address.scheme)
    if not proxy or urllib.request.proxy_bypass(address.netloc):
        return ""
    return f" through the proxy {re.sub('//[^/]*@', '//', proxy)}"


def _note_of(partial: Path) -> Path:
    return partial.with_name(f"{partial.name}.origin")


def _write_note(partial: Path, url: str, answer) -> None:
    """Writes down what the server calls this state of the file; without it nothing can be resumed."""
    etag = answer.headers.get("ETag", "")
    validator = etag if etag.startswith('"') else answer.headers.get("Last-Modified", "")
    if validator:
        files.atomic_write(_note_of(partial), json.dumps(_Origin(url, validator)._asdict()))
    else:
        _note_of(partial).unlink(missing_ok=True)


def _read_note(partial: Path) -> _Origin | None:
    try:
        origin = _Origin(**json.loads(_note_of(partial).read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
    return origin if all(isinstance(text, str) and "\n" not in text for text in origin) else None


def _discard(partial: Path) -> None:
    with partial.open("r+b") as file:
        file.truncate()
    _note_of(partial).unlink(missing_ok=True)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, answer, code, message, headers, url):
        if request.type == "https" and urlsplit(url).scheme != "https":
            answer.close()
            raise TlkerasError(f"{request.full_url} leads to {url}, which is not https")
        return super().redirect_request(request, answer, code, message, headers, url)
