"""Files below a folder, and those that match a pattern, found as they are taken.

Within a folder they come in the order of the names; in one of more than `SORTED` entries in the order of the file
system, since to sort it would mean to list it whole.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

SORTED = 10_000
_MAGIC = re.compile(r"[*?[]")
# How the names of files end that are looked for in folders.
IMAGES, TEXTS = (".jpg", ".jpeg", ".png", ".bmp", ".gif"), (".txt",)


def begins_in(name: str) -> Path | None:
    """Gives the folder that a pattern begins in; None for a name without wildcards."""
    return _split(name)[0] if _MAGIC.search(name) else None


def matching(pattern: str, suffixes: Sequence[str]) -> Iterator[Path]:
    """Gives the files that match a pattern: `*`, `?` and `[…]` within a name, `**` for any folders.

    Hidden files and folders are matched by what begins with a dot alone. A folder that matches stands for the files
    below it that end in one of the suffixes, and so does `**` at the end.
    """
    return _matching(*_split(pattern), suffixes)


def walk(folder: Path, suffixes: Sequence[str]) -> Iterator[Path]:
    """Gives the files in and below a folder that end in one of the suffixes (lower case), but for hidden ones."""
    for entry in _entries(folder):
        path = folder / entry.name
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            # One that cannot be listed is told in the answers.
            yield from walk(path, suffixes) if os.access(path, os.R_OK | os.X_OK) else [path]
        elif entry.name.lower().endswith(suffixes) and (not entry.is_symlink() or entry.is_file()):
            yield path


def _split(pattern: str) -> tuple[Path, list[str]]:
    """Splits a pattern into the folder that it begins in and the segments from the first that has a wildcard."""
    parts = Path(pattern).parts
    plain = next(index for index, part in enumerate(parts) if _MAGIC.search(part))
    return Path(*parts[:plain]), list(parts[plain:])


def _matching(folder: Path, segments: Sequence[str], suffixes: Sequence[str]) -> Iterator[Path]:
    segment, *rest = segments
    if segment == "**":
        yield from _below(folder, rest, suffixes)
        return
    if not _MAGIC.search(segment):
        found = [(folder / segment, (folder / segment).is_dir())] if os.path.lexists(folder / segment) else []
    else:
        named = (entry for entry in _entries(folder) if fnmatch.fnmatchcase(entry.name, segment))
        shown = (entry for entry in named if segment.startswith(".") or not entry.name.startswith("."))
        found = ((folder / entry.name, entry.is_dir()) for entry in shown)
    for path, is_folder in found:
        if rest:
            if is_folder:
                yield from _matching(path, rest, suffixes)
        elif is_folder:
            yield from walk(path, suffixes)
        else:
            yield path


def _below(folder: Path, rest: Sequence[str], suffixes: Sequence[str]) -> Iterator[Path]:
    """Gives what matches the rest of a pattern in a folder and in all folders below it; files only, each once."""
    while rest and rest[0] == "**":
        rest = rest[1:]
    if not rest:
        yield from walk(folder, suffixes)
        return
    if len(rest) == 1:
        # In one pass, so that the order is that of a folder.
        for entry in _entries(folder):
            path = folder / entry.name
            if entry.name.startswith("."):
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _below(path, rest, suffixes)
            elif fnmatch.fnmatchcase(entry.name, rest[0]):
                yield path
        return
    yield from _matching(folder, rest, suffixes)
    for entry in _entries(folder):
        if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
            yield from _below(folder / entry.name, rest, suffixes)


def _entries(folder: Path) -> Iterator[os.DirEntry]:
    try:
        with os.scandir(folder) as found:
            first = list(islice(found, SORTED + 1))
            if len(first) <= SORTED:
                first.sort(key=lambda entry: entry.name)
            yield from first
            yield from found
    except PermissionError:
        return
