"""The numbered versions in an export folder: a number appears by rename, when its content is whole and checked."""

from __future__ import annotations

import contextlib
import errno
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tlkeras.files import UNFINISHED, locked, make_public

T = TypeVar("T")


def versions(folder: Path) -> list[Path]:
    """Lists the versions in an export folder, oldest first; none where there is no such folder."""
    found = [path for path in folder.glob("*") if path.name.isdecimal() and (path / "saved_model.pb").is_file()]
    return sorted(found, key=lambda path: int(path.name))


def publish(folder: Path, fill: Callable[[Path], T]) -> tuple[Path, T]:
    """Has a temporary folder filled, and puts it under the next free number of the export folder: whole, or not at all.

    Two at once get two numbers. What `fill` leaves on an error is removed, and so is what killed exporters left.

    Args:
        folder: The export folder; made where it does not exist.
        fill: Takes the temporary folder, writes into it, and raises when what it wrote must not be published.

    Returns:
        The new version, `folder/N`, and what `fill` returned.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as alive:
        if is_new:
            alive.callback(_remove_empty, folder)
        with locked(folder, wait=True):
            _remove_abandoned(folder)
            aside = Path(tempfile.mkdtemp(dir=folder, prefix=UNFINISHED))
            alive.enter_context(locked(aside))
            alive.callback(shutil.rmtree, aside, ignore_errors=True)
        make_public(aside)
        outcome = fill(aside)
        return _number(aside, folder), outcome


def prune(folder: Path, keep: int) -> list[int]:
    """Removes all versions in an export folder but the newest `keep`, and gives the numbers of those that it removed.

    A version loses its number before anything of it is removed, so that none is ever seen in part.
    """
    removed = []
    with locked(folder, wait=True):
        for version in versions(folder)[:-keep]:
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
        taken = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
        target = folder / str(max(taken, default=0) + 1)
        try:
            return aside.rename(target)
        except OSError as error:
            # Another exporter was faster: a folder cannot be renamed onto one that has something in it.
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise


def _remove_abandoned(folder: Path) -> None:
    """Removes unfinished folders that nobody holds: the lock of an exporter goes with it, even if it was killed."""
    for path in folder.glob(f"{UNFINISHED}*"):
        # A living exporter may just have given it its number.
        with contextlib.suppress(FileNotFoundError), locked(path) as free:
            if free:
                shutil.rmtree(path, ignore_errors=True)
