"""Writing files so that nothing half-written is ever seen under its final name."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None

_ASIDE = ".unfinished-"


@contextlib.contextmanager
def written_aside(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; renames it to `path` on success and removes it on failure."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{_ASIDE}{path.stem[:40]}.", suffix=path.suffix)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        # mkstemp makes files private; a result is as readable as any other file of the user.
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o666 & ~umask)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def atomic_write(path: str | os.PathLike, data: str | bytes) -> None:
    """Writes `data` (text as UTF-8) to `path`: whole, or not at all."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    with written_aside(path) as aside:
        aside.write_bytes(data)


def is_leftover(path: Path) -> bool:
    """Says whether a file is one that a killed process had not finished."""
    return path.name.startswith(_ASIDE) and path.is_file()


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes had not finished. Only for a folder that no other process writes to."""
    for path in folder.glob(f"{_ASIDE}*"):
        if is_leftover(path):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[bool]:
    """Holds a lock file while the block runs; the operating system lets go of it when the process dies.

    Yields:
        Whether the lock was free; True as well where there are no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
