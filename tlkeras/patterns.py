"""Files below a folder, and those that match a pattern, found as they are taken.

Within a folder they come in the order of the names; in one of more than `SORTED` entries in the order of the file
system, since to sort it would mean to list it whole. A folder that may not be read is given itself, so that who reads
what is found tells of it.
"""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
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
    if (entries := _entries(folder)) is None:
        yield folder
        return
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(folder / entry.name, suffixes)
        elif entry.name.lower().endswith(suffixes) and not _is_folder(entry):
            yield folder / entry.name


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
    if (entries := _entries(folder)) is None:
        yield folder
        return
    if not _MAGIC.search(segment):
        found = [(folder / segment, (folder / segment).is_dir())] if os.path.lexists(folder / segment) else []
    else:
        named = (entry for entry in entries if fnmatch.fnmatchcase(entry.name, segment))
        shown = (entry for entry in named if segment.startswith(".") or not entry.name.startswith("."))
        found = ((folder / entry.name, _is_folder(entry)) for entry in shown)
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
    if (entries := _entries(folder)) is None:
        yield folder
        return
    if len(rest) > 1:
        yield from _matching(folder, rest, suffixes)
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _below(folder / entry.name, rest, suffixes)
        # In one pass, so that the order is that of a folder.
        elif len(rest) == 1 and fnmatch.fnmatchcase(entry.name, rest[0]):
            yield folder / entry.name


def _is_folder(entry: os.DirEntry) -> bool:
    """Says whether an entry is a folder or a link to one; a link that leads nowhere, or in circles, is none."""
    # Path.is_dir raises where a link may not be followed.
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and os.path.isdir(entry))  # noqa: PTH112


def _entries(folder: Path) -> Iterable[os.DirEntry] | None:
    """Gives the entries of a folder; None where it may not be read."""
    try:
        entries = os.scandir(folder)
        first = list(islice(entries, SORTED + 1))
    except PermissionError:
        return None
    if len(first) <= SORTED:
        first.sort(key=lambda entry: entry.name)
    return chain(first, entries)
