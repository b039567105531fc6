"""Images or texts without labels, such as some that are none of the classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tlkeras import patterns
from tlkeras.data import texts
from tlkeras.data.check import Progress, check
from tlkeras.data.dataset import Example
from tlkeras.errors import TlkerasError


def unlabelled(
    path: Path, task: str, progress: Progress | None = None, say: Callable[[str], None] | None = None
) -> list[Example]:
    """Reads all images in a folder and the folders in it, or a file of a text a line.

    Args:
        path: The folder, or for texts the file, in UTF-8.
        task: `image` or `text`.
        progress: Called with (examples checked, examples in all).
        say: Called with a line for each that cannot be used and is left out.

    Returns:
        Those that can be used, in the order of their names or lines, with the label "".

    Raises:
        TlkerasError: There are none, or the file is none of texts.
    """
    what, where = ("images", "folder") if task == "image" else ("texts", "file")
    if not (path.is_dir() if task == "image" else path.is_file()):
        found = f"{path} is none" if path.exists() else f"there is no {where} {path}"
        raise TlkerasError(f"{what} without labels come in a {where}: {found}")
    checked = _images(path, progress) if task == "image" else _texts(path, progress)
    for example, reason in checked:
        if reason and say:
            say(f"left out: {example.name}: {reason}")
    if good := [example for example, reason in checked if not reason]:
        return good
    raise TlkerasError(f"there are no {what} in {path} that can be used")


def _images(folder: Path, progress: Progress | None) -> list[tuple[Example, str]]:
    files = list(patterns.walk(folder, patterns.IMAGES))
    outcomes = check(files, folder, progress)
    return [
        (Example(file, str(file.relative_to(folder)), "", sha256=outcome.sha256), outcome.reason)
        for file, outcome in zip(files, outcomes, strict=True)
    ]


def _texts(file: Path, progress: Progress | None) -> list[tuple[Example, str]]:
    with file.open(encoding="utf-8", errors="surrogateescape") as opened:
        lines = [line.rstrip("\n") for line in opened]
    if any("\0" in line for line in lines):
        raise TlkerasError(f"{file} is no file of texts: it has a NUL byte")
    return texts.check([Example(file, f"{file}:{n}", "", text=line) for n, line in enumerate(lines, 1)], progress)
