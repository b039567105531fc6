"""Every file is checked before training: what can be decoded is hashed, what cannot gets a reason. None is touched."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf

from tlkeras.data import costly, formats
from tlkeras.data.images import ALL, decode, decode_all
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.files import atomic_write
from tlkeras.weights import cache_folder

# 64 megapixels take 192 MB decoded: more than any camera's photo that is meant, and little enough to survive.
MAX_PIXELS = 64_000_000
# A header of a PNG can announce no wider picture.
MOST_PIXELS = 2**31 - 1
MAX_RATIO = 100
MAX_BYTES = 2**29
# Files a task: looking up what is remembered takes less time than a task does.
_PORTION = 16
# Bytes of a file whose decoding takes less time than the call that asks for it.
_SMALL = 2**16


@dataclass(frozen=True, slots=True)
class Checked:
    """The outcome for one file: the SHA-256 of its bytes, or the reason why it is left out."""

    sha256: str
    reason: str


Progress = Callable[[int, int], None]


def check(paths: Sequence[Path], root: Path, progress: Progress | None = None) -> list[Checked]:
    """Checks image files in parallel, and remembers the outcome by path, size and time of change.

    Args:
        paths: The files.
        root: Folder of the data; its outcomes are remembered in one file of the cache.
        progress: Called with (files done, files in all).

    Returns:
        One outcome for each path, in order.
    """
    memory = _Memory(root)
    outcomes: list[Checked] = []
    try:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            portions = (paths[begin : begin + _PORTION] for begin in range(0, len(paths), _PORTION))
            for some in pool.map(memory.outcomes, portions):
                outcomes += some
                if progress:
                    progress(len(outcomes), len(paths))
    finally:
        memory.keep()
    return outcomes


@dataclass(frozen=True, slots=True)
class _Small:
    """The bytes of a file that is to be decoded together with others, and the key of its outcome."""

    key: tuple[str, str, str]
    content: bytes


class _Memory:
    """What earlier checks of a folder found. It is a help only: damaged or not writable, it is done without."""

    def __init__(self, root: Path):
        name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
        self._file = cache_folder() / "checks" / f"{name}.csv"
        self._known: dict[tuple[str, str, str], Checked] = {}
        self._added = False
        try:
            with self._file.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                for path, size, changed, sha256, reason in csv.reader(file):
                    if reason or len(sha256) == 64:
                        self._known[path, size, changed] = Checked(sha256, reason)
        except (OSError, ValueError, csv.Error):
            self._known = {}

    def outcomes(self, paths: Sequence[Path]) -> list[Checked]:
        found = [self._outcome(path) for path in paths]
        small = [file for file in found if isinstance(file, _Small)]
        decoded = iter(_decoded_together([file.content for file in small]))
        return [self._add(file.key, next(decoded)) if isinstance(file, _Small) else file for file in found]

    def _outcome(self, path: Path) -> Checked | _Small:
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            return Checked("", _why_not_there(path, error))
        if not stat.S_ISREG(status.st_mode):
            return Checked("", "not a file" if stat.S_ISDIR(status.st_mode) else "not a regular file")
        if not os.access(path, os.R_OK):
            return Checked("", "cannot be read: permission denied")
        key = (str(path), str(status.st_size), str(status.st_mtime_ns))
        if key in self._known:
            return self._known[key]
        if status.st_size > MAX_BYTES:
            return self._add(key, Checked("", f"absurd size: {status.st_size:,} bytes; at most {MAX_BYTES:,}"))
        try:
            content = path.read_bytes()
        except OSError as error:
            return Checked("", f"cannot be read: {error.strerror}")
        if reason := _before_decoding(content, _absurd):
            return self._add(key, Checked("", reason))
        return _Small(key, content) if len(content) <= _SMALL else self._add(key, _decoded(content))

    def _add(self, key: tuple[str, str, str], outcome: Checked) -> Checked:
        self._known[key] = outcome
        self._added = True
        return outcome

    def keep(self) -> None:
        if not self._added:
            return
        newest = {path: (path, size, changed, c.sha256, c.reason) for (path, size, changed), c in self._known.items()}
        text = io.StringIO()
        csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_ALL).writerows(newest.values())
        try:
            atomic_write(self._file, text.getvalue())
        except OSError:
            self._added = False


def _why_not_there(path: Path, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "not a path"
    try:
        return "a broken link" if path.is_symlink() else f"cannot be read: {(error.strerror or str(error)).lower()}"
    except OSError:
        return f"cannot be read: {error.strerror}"


def reason_against(content: bytes) -> str:
    """Says why the bytes of a file cannot be decoded as an image, of whatever size; empty where they can."""
    return _before_decoding(content, lambda *size: "") or _decoded(content).reason


def _before_decoding(content: bytes, reason_against_size: Callable[[int, int], str]) -> str:
    """Says why the bytes of a file cannot be an image that is used; empty where they may.

    The header is read first, so that a picture of absurd dimensions is never decoded.
    """
    if not content:
        return "empty: zero bytes"
    kind = formats.sniff(content)
    if not kind:
        return "not an image"
    if kind not in formats.DECODED:
        return f"{kind} is not among the formats that are read, {', '.join(formats.DECODED)}: convert it to JPEG or PNG"
    try:
        image = formats.header(kind, content)
    except (SyntaxError, OSError, ValueError) as error:
        # Two letters make no BMP: many a text begins with them.
        return "not an image" if kind == "BMP" else _damaged(kind, content, error)
    if reason := reason_against_size(*image.size):
        return reason
    if kind == "JPEG" and _has_many_scans(content):
        return f"in more than {costly.MOST_SCANS} scans, which take a decoder long: save it again"
    if kind == "PNG" and costly.has_false_length_of(content):
        return (
            "truncated PNG"
            if formats.is_truncated(kind, content)
            else "damaged PNG: its chunks are too long or too many"
        )
    if kind == "PNG" and content.count(b"TXt") > costly.MOST_TEXTS:
        return f"more than {costly.MOST_TEXTS} texts, which take a decoder long: save it again"
    if kind == "BMP" and (image.mode not in ("L", "RGB", "RGBA") or not formats.is_plain_bmp(content)):
        return "BMP with a palette or compression, which TensorFlow misreads: convert it to PNG"
    return ""


def _has_many_scans(content: bytes) -> bool:
    # Few files are to be looked at more closely.
    return content.count(b"\xff\xda") > costly.MOST_SCANS and bool(costly.has_many_scans(content))


def _absurd(width: int, height: int) -> str:
    short, long = sorted((width, height))
    if short >= 1 and short * long <= MAX_PIXELS and long <= MAX_RATIO * short:
        return ""
    return f"absurd dimensions, {width} x {height}: at most {MAX_PIXELS:,} pixels, {MAX_RATIO} times as long as wide"


def _decoded(content: bytes) -> Checked:
    """Has the decoder of training and serving its say, so that what passes here cannot fail there."""
    try:
        decode(tf.constant(content), ALL)
    except tf.errors.OpError as error:
        return Checked("", _damaged(formats.sniff(content), content, error))
    return Checked(hashlib.sha256(content).hexdigest(), "")


def _decoded_together(contents: Sequence[bytes]) -> list[Checked]:
    try:
        decode_all(contents)
    except tf.errors.OpError:
        return [_decoded(content) for content in contents]
    return [Checked(hashlib.sha256(content).hexdigest(), "") for content in contents]


def _damaged(kind: str, content: bytes, error: Exception) -> str:
    if formats.is_truncated(kind, content):
        return f"truncated {kind}"
    return f"damaged {kind}: {in_one_line(error)[:120]}"


@contextlib.contextmanager
def still_readable(paths: Sequence[Path], root: Path) -> Iterator[None]:
    """Words what happens when images that were checked are lost or damaged while the block reads them.

    Raises:
        TlkerasError: One of them can no longer be read; the message names it.
    """
    try:
        yield
    except tf.errors.OpError as error:
        lost = [f"{path}: {now.reason}" for path, now in zip(paths, check(paths, root), strict=True) if now.reason]
        if not lost:
            raise
        raise TlkerasError(
            f"{len(lost)} of {len(paths)} images can no longer be read, the first {lost[0]}; put back what was there"
        ) from error
