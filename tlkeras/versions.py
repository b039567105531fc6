"""The numbered versions in an export folder: a number appears by rename, when its content is whole and checked."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tlkeras.errors import TlkerasError
from tlkeras.files import UNFINISHED, locked, make_public, remove_abandoned

T = TypeVar("T")

# TensorFlow Serving's versions have 64 bits.
HIGHEST = 2**63 - 1


def versions(folder: Path) -> list[Path]:
    """Lists the versions in an export folder, oldest first; none where there is no such folder."""
    found = [path for path in folder.glob("*") if _is_number(path.name) and (path / "saved_model.pb").is_file()]
    return sorted(found, key=lambda path: int(path.name))


def _is_number(name: str) -> bool:
    """Says whether TensorFlow Serving takes the name of a folder for a version."""
    return name.isascii() and name.isdecimal() and len(name.lstrip("0")) <= len(str(HIGHEST)) and int(name) <= HIGHEST


def publish(folder: Path, fill: Callable[[Path], T]) -> tuple[Path, T]:
    """Has a temporary folder filled, and puts it under the next free number of the export folder: whole, or not at all.

    Two at once get two numbers. What `fill` leaves on an error is removed, and so is what killed exporters left.

    Args:
        folder: The export folder; made where it does not exist.
        fill: Takes the temporary folder, writes into it, and raises when what it wrote must not be published.

    Returns:
        The new version, `folder/N`, and what `fill` returned.

    Raises:
        TlkerasError: The highest version that there can be is there.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as alive:
        if is_new:
            alive.callback(_remove_empty, folder)
        with locked(folder, wait=True):
            remove_abandoned(folder)
            aside = Path(tempfile.mkdtemp(dir=folder, prefix=UNFINISHED))
            alive.enter_context(locked(aside))
            alive.callback(shutil.rmtree, aside, ignore_errors=True)
        make_public(aside)
        outcome = fill(aside)
        return _number(aside, folder), outcome


def prune(folder: Path, keep: int) -> list[int]:
    """Removes all versions in an export folder but the newest `keep`, and gives the numbers of those that it removed.

    A version loses its number before anything of it is removed, so that none is ever seen in part. Of one that is a
    link the link goes, and what it leads to stays.
    """
    removed = []
    with locked(folder, wait=True):
        for version in versions(folder)[:-keep]:
            if version.is_symlink():
                version.unlink()
            else:
                doomed = Path(tempfile.mkdtemp(dir=folder, prefix=UNFINISHED))
                version.rename(doomed)
                shutil.rmtree(doomed, ignore_errors=True)
            removed.append(int(version.name))
    return removed


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


def _number(aside: Path, folder: Path) -> Path:
    while True:
        taken = max((int(path.name) for path in folder.iterdir() if _is_number(path.name)), default=0)
        if taken == HIGHEST:
            raise TlkerasError(f"{folder} has a version {taken}, and no number is left for a next one")
        target = folder / str(taken + 1)
        try:
            return aside.rename(target)
        except OSError as error:
            # Another exporter was faster: a folder cannot be renamed onto one that has something in it.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
