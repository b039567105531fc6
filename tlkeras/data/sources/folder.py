"""A folder of class folders, or one that comes split, with such folders in train/ and val/ or test/."""

from __future__ import annotations

import difflib
import os
from collections import defaultdict
from pathlib import Path

from tlkeras.data.dataset import Example, Excluded, Source
from tlkeras.data.sources.labels import class_name
from tlkeras.errors import TlkerasError

# What the folder of a part may be called.
_PART_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


def find(path: str) -> Source:
    """Finds the images of a folder: one class for each folder in it, with all files at any depth below.

    Hidden files and folders, and files in no class folder, are left out with that reason. A folder that has `train/`
    and `val/` (also `valid/`, `validation/`) or `test/` inside comes split. Links are followed.

    Raises:
        TlkerasError: The folder is missing or has no class folders, a class is empty, or its name is no text.
    """
    root = Path(path).expanduser().absolute()
    if not root.is_dir():
        raise TlkerasError(f"the data {path} {_what_is_wrong(root)}")
    scan = _Scan(root)
    folders = scan.folders(root)
    parts = _parts(root, folders)
    if not parts:
        scan.add_classes(root, folders, None)
    for part, folder in parts.items():
        scan.add_classes(folder, scan.folders(folder), part)
    if parts:
        scan.excluded += [
            Excluded(f.name, f"in none of {', '.join(parts)}") for f in folders if f not in parts.values()
        ]
    return Source(root, scan.examples, scan.excluded)


def find_texts(path: str) -> Source:
    """Finds the texts of a folder as `find` does its images: one .txt file a text; other files are left out.

    Raises:
        TlkerasError: As `find`; or the folder has no .txt file.
    """
    found = find(path)
    texts = [example for example in found.examples if example.path.suffix.lower() == ".txt"]
    if not texts:
        raise TlkerasError(f"{path} has no .txt files, one a text, which the backbone takes: it is one for texts")
    others = [e for e in found.examples if e.path.suffix.lower() != ".txt"]
    return Source(found.root, texts, [*found.excluded, *(Excluded(e.name, "not a .txt file") for e in others)])


class _Scan:
    """A walk through a folder of images, in an order that does not depend on the file system."""

    def __init__(self, root: Path):
        self._root = root
        self.examples: list[Example] = []
        self.excluded: list[Excluded] = []

    def folders(self, folder: Path) -> list[Path]:
        """Lists the folders in one that holds folders; files beside them belong to no class."""
        folders, files = self._entries(folder)
        self.excluded += [Excluded(self._name(file), "in no class folder") for file in files]
        return folders

    def add_classes(self, folder: Path, class_folders: list[Path], part: str | None) -> None:
        if not class_folders:
            inside = "files lie in it directly" if any(folder.iterdir()) else "it is empty"
            raise TlkerasError(f"{folder} has no class folders ({inside}): make a folder for each class, images inside")
        for class_folder in class_folders:
            before = len(self.examples)
            self._add_files(
                class_folder, class_name(class_folder.name, f"the folder {class_folder}"), part, frozenset()
            )
            if len(self.examples) == before:
                raise TlkerasError(f"the class folder {class_folder} is empty: put images into it, or remove it")

    def _add_files(self, folder: Path, label: str, part: str | None, above: frozenset) -> None:
        status = folder.stat()
        if (here := (status.st_dev, status.st_ino)) in above:
            self.excluded.append(Excluded(self._name(folder), "a link to a folder that it lies in"))
            return
        folders, files = self._entries(folder)
        self.examples += [Example(file, self._name(file), label, part) for file in files]
        for below in folders:
            self._add_files(below, label, part, above | {here})

    def _entries(self, folder: Path) -> tuple[list[Path], list[Path]]:
        folders, files = [], []
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except PermissionError as error:
            raise TlkerasError(f"the folder {folder} cannot be read: {error.strerror}") from None
        for entry in entries:
            if entry.name.startswith("."):
                kind = "folder" if _is_folder(entry) else "file"
                self.excluded.append(Excluded(self._name(Path(entry.path)), f"hidden {kind}"))
            else:
                (folders if _is_folder(entry) else files).append(Path(entry.path))
        return folders, files

    def _name(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself, say: the check of the files words it.
        return False


def _parts(root: Path, folders: list[Path]) -> dict[str, Path]:
    """Finds the folders of the parts; none where the folders are classes."""
    named = defaultdict(list)
    for folder in folders:
        if part := _PART_NAMES.get(folder.name.lower()):
            named[part].append(folder)
    nothing_else = sum(map(len, named.values())) == len(folders)
    if not nothing_else and ("train" not in named or len(named) == 1):
        return {}
    for part, found in named.items():
        if len(found) > 1:
            names = " and ".join(folder.name for folder in found)
            raise TlkerasError(f"{root} has two folders for the part {part}, {names}: make them one")
    return {part: named[part][0] for part in ("train", "val", "test") if part in named}


def _what_is_wrong(root: Path) -> str:
    if root.exists():
        kind = root.suffix.lower().removeprefix(".")
        hint = f": a table is given as {kind}:{root.name}" if kind in ("csv", "tsv") else ""
        return f"is a file, not a folder{hint}"
    parent = next((folder for folder in root.parents if folder.is_dir()), root)
    missing = root.relative_to(parent).parts[0]
    below = sorted(entry.name for entry in parent.iterdir() if entry.is_dir()) if os.access(parent, os.R_OK) else []
    near = difflib.get_close_matches(missing, below, n=1)
    if not near and difflib.get_close_matches(root.name, ["digits"]):
        return "does not exist. Did you mean 'digits'?"
    return f"does not exist. Did you mean {parent / near[0]}?" if near else f"does not exist; {parent} does"
