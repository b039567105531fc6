"""Writing files so that nothing half-written is ever seen under its final name, and reading none that never ends."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tlkeras.errors import TlkerasError

try:
    import fcntl
except ImportError:  # Windows has no such locks.
    fcntl = None

# Begins the name of whatever is still being written. TensorFlow Serving passes over folders that are called so.
UNFINISHED = ".unfinished-"


@contextlib.contextmanager
def written_aside(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary name beside `path` to write to; renames it to `path` on success and removes it on failure."""
    path = Path(path)
    is_new = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f"{UNFINISHED}{path.stem[:40]}.", suffix=path.suffix)
    aside = Path(name)
    try:
        # Says to `remove_abandoned` that somebody still writes.
        _lock(handle if fcntl else None, wait=False)
        yield aside
        make_public(aside)
        aside.replace(path)
    finally:
        os.close(handle)
        aside.unlink(missing_ok=True)
        if is_new:
            with contextlib.suppress(OSError):
                path.parent.rmdir()


@contextlib.contextmanager
def folder_aside(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary folder beside `path` to fill; renames it to `path` on success and removes it on failure.

    `path` must not exist, or be an empty folder, when the block ends.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=path.parent, prefix=f"{UNFINISHED}{path.name[:40]}."))
    try:
        yield aside
        make_public(aside)
        aside.replace(path)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextlib.contextmanager
def partial_of(path: Path) -> Iterator[Path]:
    """Gives the one partial file of `path` to fill, which outlives a killed process; the caller renames it when whole.

    A process that comes second waits for the first. A partial that is still empty afterwards is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{UNFINISHED}{path.name}")
    descriptor = _open_locked(partial)
    try:
        yield partial
    finally:
        if partial.exists() and not partial.stat().st_size:
            partial.unlink()
        os.close(descriptor)


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds a file, which is made if need be, while the block runs: for `locked` it is then not free.

    Several processes may hold it at once. One that has it `locked` is waited for.

    Raises:
        FileNotFoundError: Its folder is not there, or was removed by the one that was waited for.
    """
    descriptor = _open_locked(path, shared=True)
    try:
        yield
    finally:
        os.close(descriptor)


def _open_locked(path: Path, shared: bool = False) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        _lock(descriptor if fcntl else None, wait=True, shared=shared)
        # The process that was waited for may have renamed or removed the file: the lock is then on one of the past.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)


def make_public(path: Path) -> None:
    """Makes a temporary file or folder, which is private, as readable as any other of the user."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~umask)


def atomic_write(path: str | os.PathLike, data: str | bytes) -> None:
    """Writes `data` (text as UTF-8) to `path`: whole, or not at all."""
    if isinstance(data, str):
        data = data.encode("utf-8", "surrogateescape")
    with written_aside(path) as aside:
        aside.write_bytes(data)


def is_leftover(path: Path) -> bool:
    """Says whether a file or folder is one that a killed process had not finished."""
    return path.name.startswith(UNFINISHED)


def remove_leftovers(folder: Path) -> None:
    """Removes what killed processes had not finished. Only for a folder that no other process writes to."""
    for path in folder.glob(f"{UNFINISHED}*"):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def remove_abandoned(folder: Path) -> None:
    """Removes unfinished files and folders that nobody holds: the lock of a process goes with it, even if killed."""
    for path in folder.glob(f"{UNFINISHED}*"):
        # A living process may just have given it its name, and what is another user's stays.
        with contextlib.suppress(OSError), locked(path) as free:
            if not free:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool | None]:
    """Holds a lock on a file or folder while the block runs; the operating system lets go of it when the process dies.

    Args:
        path: An existing file or folder.
        wait: Wait until the lock is free.

    Yields:
        Whether the lock was free; None where the system or the file system knows no locks.
    """
    # On some file systems only a file that is open for writing can be locked.
    may_write = not path.is_dir() and os.access(path, os.W_OK)
    descriptor = os.open(path, os.O_RDWR if may_write else os.O_RDONLY) if fcntl else None
    try:
        yield _lock(descriptor, wait)
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _lock(descriptor: int | None, wait: bool, shared: bool = False) -> bool | None:
    if descriptor is None:
        return None
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def check_name(path: str | os.PathLike) -> None:
    """Refuses a place whose name is not in UTF-8: TensorFlow opens none such.

    Raises:
        TlkerasError: It is not.
    """
    try:
        os.fspath(path).encode()
    except UnicodeEncodeError:
        name = f"{os.fspath(path)!r} has letters that are not UTF-8"
        raise TlkerasError(f"{name}, and TensorFlow opens no such file: rename it, or set LC_ALL=C.UTF-8") from None


def read_regular(path: Path, most: int = -1) -> bytes:
    """Reads a file, or no more than the first bytes of it.

    Raises:
        OSError: It cannot be read, or is a pipe or a device, which would keep the reader waiting.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with path.open("rb") as file:
        return file.read(most)
