"""What is asked about: files, those of folders, patterns and lists, and texts; found one by one and read in batches.

Nothing is listed whole before the first of it is given.
"""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from tlkeras import patterns, text_files
from tlkeras.errors import TlkerasError
from tlkeras.files import read_regular

# As much as an image of the data that is trained on may have.
MAX_BYTES = 2**29


class Read(NamedTuple):
    """A file or text, the bytes that a model takes, and the reason why there are none; one of the two is None."""

    one: Path | str
    content: bytes | None
    reason: str | None


def refuse_missing(names: Iterable[str | Path]) -> None:
    """Looks whether files and folders that are named exist.

    Raises:
        TlkerasError: One does not, and is no pattern either; or there is no folder where its pattern begins.
    """
    for name in map(os.fspath, names):
        if name == "-" or Path(name).exists():
            continue
        folder = patterns.begins_in(name)
        if folder is None or not folder.is_dir():
            missing = f"file {name}" if folder is None else f"folder {folder} for the pattern {name}"
            raise TlkerasError(f"there is no {missing}{'; a text is given with --text' if ' ' in name else ''}")


def find(
    names: Iterable[str | Path], is_text: bool, lines: Iterable[bytes] = (), texts: Iterable[str] = ()
) -> Iterator[Path | str]:
    """Finds what is asked about: first the files in the order of the names, then the texts.

    Args:
        names: Files; folders, which stand for the image files (for a model of texts the .txt files) in them, but for
            hidden ones; patterns as in `tlkeras.patterns`, but for names that exist; and `-` for the lines.
        is_text: Whether the model takes texts.
        lines: Names of files; for a model of texts the texts themselves.
        texts: Texts, for a model of texts.

    Raises:
        TlkerasError: At once: a folder has no such files, a pattern matches nothing, nothing is asked about, or
            there are texts for a model of images.
    """
    names = [os.fspath(name) for name in names]
    parts = [_lines(lines, is_text) if name == "-" else _first(name, is_text) for name in names]
    if (texts := _peeked(iter(texts))) is not None:
        if not is_text:
            raise TlkerasError("the model takes images, and a text was given: name image files")
        parts.append(texts)
    if not parts:
        what = ".txt files, or texts with --text" if is_text else "image files, or folders of them"
        raise TlkerasError(f"no files to predict: name {what}")
    return itertools.chain.from_iterable(parts)


def batches(asked: Iterable[Path | str], is_text: bool, size: int, most_bytes: int) -> Iterator[list[Read]]:
    """Reads what is asked about, so many at a time, and fewer where they have more than so many bytes together."""
    batch, count = [], 0
    for one in asked:
        found = read(one, is_text)
        length = len(found.content or b"")
        if batch and count + length > most_bytes:
            yield batch
            batch, count = [], 0
        batch.append(found)
        count += length
        # At once, and not with the next: one who types names waits for answers.
        if len(batch) == size:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def read(one: Path | str, is_text: bool) -> Read:
    """Reads a file, or takes a text, as the bytes that a model takes, or says why there are none."""
    try:
        if not is_text:
            content = read_regular(one, MAX_BYTES + 1)
            reason = f"absurd size: more than {MAX_BYTES:,} bytes" if len(content) > MAX_BYTES else ""
            reason = reason or ("" if content else "empty: zero bytes")
            return Read(one, None, reason) if reason else Read(one, content, None)
        content = text_files.read(one) if isinstance(one, Path) else one.encode("utf-8", "surrogateescape")
    except (OSError, ValueError) as error:
        return Read(one, None, _why_not(one, error))
    if reason := text_files.reason_against(content):
        return Read(one, None, reason)
    return Read(one, text_files.decode(content).encode(), None)


def _why_not(path: Path | str, error: OSError | ValueError) -> str:
    if isinstance(error, ValueError):
        return "not a path"
    if error.errno == errno.EINVAL and path.is_dir():
        try:
            os.scandir(path).close()
            return "a folder: a list names files"
        except OSError as why:
            error = why
    return f"cannot be read: {error.strerror}"


def _lines(lines: Iterable[bytes], is_text: bool) -> Iterator[Path | str]:
    for line in lines:
        line = line.removesuffix(b"\n").removesuffix(b"\r")
        if is_text:
            yield line.decode("utf-8", "surrogateescape")
        elif line:
            yield Path(os.fsdecode(line))


def _first(name: str, is_text: bool) -> Iterator[Path]:
    """Gives the files that a name stands for, once it is seen that there is one."""
    suffixes = patterns.TEXTS if is_text else patterns.IMAGES
    if Path(name).is_dir():
        found = _peeked(patterns.walk(Path(name), suffixes))
        if found is None:
            kind = "text" if is_text else "image"
            raise TlkerasError(f"no {kind} files in {name}; they end in {', '.join(sorted(suffixes))}")
        return found
    if Path(name).exists():
        return iter([Path(name)])
    found = _peeked(patterns.matching(name, suffixes))
    if found is None:
        raise TlkerasError(f"nothing matches the pattern {name}")
    return found


def _peeked(found: Iterator) -> Iterator | None:
    """Gives the same again, or None where there is nothing."""
    for first in found:
        return itertools.chain([first], found)
    return None
