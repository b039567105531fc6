"""Every file is checked before training: what can be decoded is hashed, what cannot gets a reason. No file is touched."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import tensorflow as tf
from PIL import Image, UnidentifiedImageError

from tlkeras.data.images import decode
from tlkeras.files import atomic_write
from tlkeras.weights import cache_folder

FORMATS = ("JPEG", "PNG", "BMP", "GIF")
# 64 megapixels take 192 MB decoded: more than any camera's photo that is meant, and little enough to survive.
MAX_PIXELS = 64_000_000
MAX_RATIO = 100


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
    outcomes = []
    with ThreadPoolExecutor(2 * (os.cpu_count() or 1)) as pool:
        for done, outcome in enumerate(pool.map(memory.outcome, paths), start=1):
            outcomes.append(outcome)
            if progress and (done % 16 == 0 or done == len(paths)):
                progress(done, len(paths))
    memory.keep()
    return outcomes


class _Memory:
    """What earlier checks of a folder found. A damaged file of it is as good as none."""

    def __init__(self, root: Path):
        name = hashlib.sha256(os.fsencode(root.absolute())).hexdigest()[:16]
        self._file = cache_folder() / "checks" / f"{name}.csv"
        self._known: dict[tuple[str, str, str], Checked] = {}
        self._added = False
        try:
            with self._file.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
                for path, size, changed, sha256, reason in csv.reader(file):
                    self._known[path, size, changed] = Checked(sha256, reason)
        except (OSError, ValueError, csv.Error):
            self._known = {}

    def outcome(self, path: Path) -> Checked:
        try:
            status = path.stat()
        except OSError as error:
            link = "a broken link" if path.is_symlink() else f"cannot be read: {error.strerror}"
            return Checked("", link)
        key = (str(path.absolute()), str(status.st_size), str(status.st_mtime_ns))
        if key not in self._known:
            self._known[key] = _look_at(path)
            self._added = True
        return self._known[key]

    def keep(self) -> None:
        if not self._added:
            return
        text = io.StringIO()
        newest = {path: (path, size, changed, c.sha256, c.reason) for (path, size, changed), c in self._known.items()}
        csv.writer(text, lineterminator="\n").writerows(newest.values())
        atomic_write(self._file, text.getvalue())


def _look_at(path: Path) -> Checked:
    try:
        content = path.read_bytes()
    except OSError as error:
        return Checked("", f"cannot be read: {error.strerror}")
    reason = reason_against(content)
    return Checked("" if reason else hashlib.sha256(content).hexdigest(), reason)


def reason_against(content: bytes) -> str:
    """Says why the bytes of a file cannot be used as an image; empty where they can.

    The header is read first, so that a picture of absurd dimensions is never decoded; then the decoder of training and
    serving has its say, so that what passes here cannot fail there.
    """
    if not content:
        return "empty: zero bytes"
    try:
        with Image.open(io.BytesIO(content)) as image:
            kind, (width, height) = image.format, image.size
    except Image.DecompressionBombError:
        return f"absurd dimensions: more than {MAX_PIXELS:,} pixels"
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError):
        return "not an image"
    if kind not in FORMATS and kind != "MPO":
        return f"{kind} is not among {', '.join(FORMATS)}: convert it to one of them"
    if width < 1 or height < 1 or width * height > MAX_PIXELS or max(width, height) > MAX_RATIO * min(width, height):
        return f"absurd dimensions: {width} x {height}; at most {MAX_PIXELS:,} pixels and {MAX_RATIO} times as long as wide"
    try:
        decode(tf.constant(content))
    except tf.errors.InvalidArgumentError:
        return f"damaged or truncated {kind}"
    return ""
