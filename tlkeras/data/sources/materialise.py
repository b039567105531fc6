"""Images that are no files become files in the cache: once, and whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from tlkeras.errors import TlkerasError
from tlkeras.weights import cache_folder


def materialised(name: str, images: Callable[[], Iterable[tuple[str, bytes]]]) -> Path:
    """Gives the folder of a data set in the cache, written first where it is not there yet.

    Args:
        name: Of the folder below `data/` of the cache; another content needs another name.
        images: Gives the relative path and the bytes of each file; called only where the folder is not there.
    """
    folder = cache_folder() / "data" / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}.") as temporary:
            aside = Path(temporary, folder.name)
            for path, content in images():
                (aside / path).parent.mkdir(parents=True, exist_ok=True)
                (aside / path).write_bytes(content)
            aside.rename(folder)
    except OSError as error:
        # Another process may have been faster; what it wrote is the same.
        if folder.is_dir():
            return folder
        raise TlkerasError(
            f"the images of {name} cannot be kept in {folder.parent} ({error.strerror or error}): set TLKERAS_HOME to "
            f"a folder that can be written"
        ) from error
    return folder
