"""Images that are no files become files in the cache: once, and whole or not at all."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

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
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
    try:
        for path, content in images():
            (aside / path).parent.mkdir(parents=True, exist_ok=True)
            (aside / path).write_bytes(content)
        aside.chmod(0o755)
        if not folder.is_dir():
            aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder
