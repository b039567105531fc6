"""A folder of class folders, or one that comes split, with such folders in train/ and val/ or test/."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from tlkeras.data.dataset import Example, Excluded, Source
from tlkeras.errors import TlkerasError

# What the folder of a part may be called.
_PART_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def find(path: str) -> Source:
    """Finds the images of a folder: one class for each folder in it, with all files at any depth below.

    Hidden files are left out, with that reason. A folder that has `train/` and `val/` or `test/` inside comes split.

    Raises:
        TlkerasError: The folder is missing or has no class folders, a class is empty, or the parts have other classes
            than train.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise TlkerasError(f"the data folder {path} does not exist{_hint(root)}")
    parts = {part: folder for folder in _folders(root) if (part := _PART_NAMES.get(folder.name.lower()))}
    excluded: list[Excluded] = []
    if "train" not in parts or len(parts) == 1:
        return Source(root, _classes(root, root, None, excluded), excluded)
    examples = [e for part, folder in sorted(parts.items()) for e in _classes(folder, root, part, excluded)]
    trained = {example.label for example in examples if example.part == "train"}
    for part in parts:
        if others := sorted({example.label for example in examples if example.part == part} - trained):
            raise TlkerasError(f"{parts[part]} has classes that {parts['train']} has not: {', '.join(others)}")
    return Source(root, examples, excluded)


def _classes(folder: Path, root: Path, part: str | None, excluded: list[Excluded]) -> list[Example]:
    examples = []
    for class_folder in _folders(folder):
        found = [
            Example(file, _name(file, root), class_folder.name, part) for file in _files(class_folder, root, excluded)
        ]
        if not found:
            raise TlkerasError(f"the class folder {class_folder} is empty: put images into it or remove it")
        examples += found
    if not examples:
        inside = "images lie in it directly" if any(folder.iterdir()) else "it is empty"
        raise TlkerasError(f"{folder} has no class folders ({inside}): make one folder a class, with its images inside")
    return examples


def _files(folder: Path, root: Path, excluded: list[Excluded]) -> list[Path]:
    files = []
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(where, name)
            if name.startswith("."):
                excluded.append(Excluded(_name(file, root), "hidden file"))
            else:
                files.append(file)
    return files


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _name(file: Path, root: Path) -> str:
    return file.relative_to(root).as_posix()


def _hint(root: Path) -> str:
    parent = next((folder for folder in root.parents if folder.is_dir()), root)
    near = difflib.get_close_matches(root.name, [e.name for e in _folders(parent)], n=1) if parent != root else []
    return f". Did you mean {parent / near[0]}?" if near and parent == root.parent else f"; {parent} does"
