"""The numbered versions in an export folder: a number appears by rename, when its content is whole and checked."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

try:
    import fcntl
except ImportError:  # Windows has no such locks; what a killed exporter leaves there stays.
    fcntl = None

# TensorFlow Serving loads the folders whose name is a number, and passes over these.
_UNFINISHED = ".unfinished-"

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
    folder.mkdir(parents=True, exist_ok=True)
    guard = _lock(folder, wait=True)
    try:
        _remove_abandoned(folder)
        aside = Path(tempfile.mkdtemp(dir=folder, prefix=_UNFINISHED))
        alive = _lock(aside)
    finally:
        _unlock(guard)
    try:
        # mkdtemp makes folders private; whoever serves the model may be somebody else.
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o777 & ~umask)
        outcome = fill(aside)
        return _number(aside, folder), outcome
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        _unlock(alive)


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
    for path in folder.glob(f"{_UNFINISHED}*"):
        lock = _lock(path)
        if lock is not None:
            shutil.rmtree(path, ignore_errors=True)
            _unlock(lock)


def _lock(folder: Path, wait: bool = False) -> int | None:
    """Locks a folder against other exporters; None where somebody else has it, or the file system knows no locks."""
    if fcntl is None:
        return None
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(descriptor)
        return None
    return descriptor


def _unlock(descriptor: int | None) -> None:
    if descriptor is not None:
        os.close(descriptor)
