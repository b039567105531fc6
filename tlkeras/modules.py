"""Modules of TF-Hub on this machine: where they lie, and whether they are still what they were. No TensorFlow.

A SavedModel is a program: one that was changed behind our back is not to be run.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import warnings
from pathlib import Path

from tlkeras import checksums
from tlkeras.errors import TlkerasError, TlkerasWarning
from tlkeras.files import is_leftover
from tlkeras.places import cache_folder


def kept() -> Path:
    """Returns the folder of the modules that were unpacked, imported or put there, with the checksums beside them.

    The checksums of what TensorFlow Hub downloaded to its own cache lie here too, under the name that it has there.
    """
    return cache_folder() / "modules"


def folder_of(handle: str) -> Path:
    """Returns where the TF-Hub module of that handle stands in the cache, if a bundle or the user brought it."""
    return kept() / hashlib.sha256(handle.encode()).hexdigest()[:16]


def places(handle: str) -> tuple[Path, ...]:
    """Lists where the module of a handle may lie: a local folder; an address in our cache or TensorFlow Hub's own."""
    if "://" not in handle:
        return (Path(handle),)
    return folder_of(handle), _hub_cache() / hashlib.sha1(handle.encode()).hexdigest()


def here() -> list[Path]:
    """Lists the modules in our cache, and those in TensorFlow Hub's own that were used from here."""
    names = {path.name.removesuffix(checksums.SUFFIX) for path in kept().glob("*") if not is_leftover(path)}
    return [place / name for name in sorted(names) for place in (kept(), _hub_cache()) if (place / name).is_dir()]


def difference(folder: Path) -> str | None:
    """Says how a module differs from what was written down of it: empty where not at all; None where nothing was."""
    sums = checksums.recorded(kept() / folder.name)
    return None if sums is None else checksums.folder_difference(folder, sums)


def guard(folder: Path) -> None:
    """Writes down the checksums of a module in a cache when it is used first, and compares it with them from then on.

    Raises:
        TlkerasError: It is another; the message names the files.
    """
    wrong = difference(folder)
    if wrong is None:
        checksums.record(kept() / folder.name, checksums.of_folder(folder))
    if wrong:
        raise TlkerasError(
            f"the module in {folder} is not what it was when it came there ({wrong}): remove the folder, and fetch, "
            f"unpack or import it again; to take it as it is, remove {checksums.record_of(kept() / folder.name)}"
        )


def guard_copy(folder: Path) -> None:
    """Compares the copy of a module in a run with the checksums beside it; warns where there are none.

    Raises:
        TlkerasError: It is another; the message names the files.
    """
    sums = checksums.recorded(folder)
    if sums is None:
        record = checksums.record_of(folder)
        state = "is damaged" if record.exists() else "is not there"
        warnings.warn(
            f"the module in {folder} was not compared with that of the training: {record} {state}",
            TlkerasWarning,
            stacklevel=2,
        )
    elif wrong := checksums.folder_difference(folder, sums):
        raise changed(folder, wrong)


def guard_again(folder: Path) -> None:
    """Compares a module that this process has used before with what was written down of it, wherever it lies.

    Raises:
        TlkerasError: It is another; the message names the files.
    """
    cached = next((place for place in (folder, folder.parent) if place.parent in (kept(), _hub_cache())), None)
    if cached:
        guard(cached)
    elif checksums.record_of(folder).exists():
        guard_copy(folder)


def changed(folder: Path, wrong: str) -> TlkerasError:
    """Words that the copy of a module in a run is another than the one it was trained with."""
    return TlkerasError(
        f"the module in {folder} was changed: it is not the one that the run was trained with ({wrong}): put back what "
        f"was there, or train again"
    )


def _hub_cache() -> Path:
    """Gives the folder that TensorFlow Hub downloads to, by its own rule."""
    return Path(os.environ.get("TFHUB_CACHE_DIR") or Path(tempfile.gettempdir()) / "tfhub_modules")
