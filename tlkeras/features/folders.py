"""The folders of all stores: which there are, how much they take together, and which have to go."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from tlkeras import sizes
from tlkeras.errors import TlkerasError
from tlkeras.features import shards
from tlkeras.files import UNFINISHED, locked, remove_leftovers
from tlkeras.places import cache_folder

ABOUT, LOCK = "about.json", "lock"
_MOST = 20 * 10**9
# Where the file system knows no locks, a store that was used since is taken to be in use.
_RECENT = 24 * 3600


@dataclass(frozen=True)
class Folder:
    """One store as it lies on the disk; `used` is when it was opened last, in seconds since 1970."""

    path: Path
    about: dict
    bytes: int
    used: float

    @property
    def key(self) -> str:
        return self.path.name

    def rows(self) -> int:
        """Counts the rows."""
        return len({name for path in shards.paths_in(self.path) for name in shards.names_in(path)})

    def in_use(self) -> bool:
        """Says whether a process has it open."""
        try:
            with locked(self.path / LOCK) as is_free:
                return is_free is False
        except FileNotFoundError:
            return False


def root() -> Path:
    """Returns where all stores are."""
    return cache_folder() / "features"


def limit() -> int:
    """Returns how many bytes all stores may take: `$TLKERAS_CACHE_LIMIT`, else 20 GB or, if less, a tenth of the disk.

    Raises:
        TlkerasError: The variable holds something else.
    """
    if chosen := os.environ.get("TLKERAS_CACHE_LIMIT"):
        return sizes.parse(chosen, "TLKERAS_CACHE_LIMIT")
    place = root()
    while not place.exists() and place != place.parent:
        place = place.parent
    return min(_MOST, shutil.disk_usage(place).total // 10)


def all_stores() -> list[Folder]:
    """Lists all stores, that which was used last first.

    Raises:
        TlkerasError: Something else lies where they are kept.
    """
    if root().exists() and not root().is_dir():
        raise TlkerasError(f"{root()} is no folder, and features are kept in one of that name: move it away")
    paths = root().iterdir() if root().is_dir() else ()
    found = [look(path) for path in paths if re.fullmatch("[0-9a-f]{24}", path.name) and not path.is_symlink()]
    return sorted((folder for folder in found if folder), key=lambda folder: (-folder.used, folder.key))


def look(path: Path) -> Folder | None:
    """Looks at the folder of a store that others may write to or remove meanwhile; None where it is gone."""
    total, used = 0, 0.0
    try:
        with os.scandir(path) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return None
    for folder, _, files in os.walk(path) if names else ():
        for name in files:
            try:
                status = Path(folder, name).lstat()
            except FileNotFoundError:
                continue
            total += status.st_size
            used = status.st_mtime if name == LOCK else used
    try:
        about = json.loads((path / ABOUT).read_text("utf-8"))
    except (OSError, ValueError):
        about = {}
    return Folder(path, about if isinstance(about, dict) else {}, total, used)


def keep_within(most: int) -> None:
    """Removes stores, that which was not used for the longest time first, until all take at most `most` bytes.

    Those that a living process has open stay.
    """
    stores = all_stores()
    total = sum(store.bytes for store in stores)
    for store in reversed(stores):
        if total <= most:
            break
        if remove(store, wait_for=_RECENT):
            total -= store.bytes


def remove(store: Folder, wait_for: float = 0) -> bool:
    """Removes a store unless a living process has it open.

    Args:
        store: What to remove.
        wait_for: Where nobody can know whether it is open: the seconds for which it must not have been opened.

    Returns:
        Whether it is gone.
    """
    remove_leftovers(root())
    lock = store.path / LOCK
    try:
        if not lock.exists():
            lock.touch()
        with locked(lock) as is_free:
            if is_free is False or (is_free is None and time.time() - store.used < wait_for):
                return False
            # Nobody can open it any more from here on, also if this process is killed before all of it is removed.
            aside = store.path.with_name(f"{UNFINISHED}{store.key}.{uuid.uuid4().hex}")
            store.path.rename(aside)
    except FileNotFoundError:
        return True
    except PermissionError:
        # Windows does not let go of a folder in which a file is open.
        if os.name != "nt":
            raise
        return False
    shutil.rmtree(aside, ignore_errors=True)
    return True
