"""Labelled images or texts in three parts, and the files that remember them: `split.csv` and `excluded.csv`."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from tlkeras.data import check
from tlkeras.errors import TlkerasError
from tlkeras.files import atomic_write

PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled image or text.

    Attributes:
        path: Where the file is; of a row of a table that of the table.
        name: How it is recorded: relative to the root of the data where it lies below it; `FILE:LINE` for a row.
        label: Name of its class.
        part: `train`, `val` or `test`; None where that is not decided yet.
        sha256: Of its bytes, in hexadecimal; empty before the check.
        text: The text; None for images, and for files of texts before they are checked.
    """

    path: Path
    name: str
    label: str
    part: str | None = None
    sha256: str = ""
    text: str | None = None


@dataclass(frozen=True, slots=True)
class Excluded:
    """A file or a row that was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Source:
    """What a source of data holds before anything is checked.

    Attributes:
        root: Folder that the names of the examples are relative to.
        examples: All its files, with `part` where the source decides it.
        excluded: What was left out at sight.
    """

    root: Path
    examples: list[Example]
    excluded: list[Excluded] = field(default_factory=list)


@dataclass(frozen=True)
class Data:
    """What `tlkeras.data.load` gives.

    Attributes:
        source: As the user named it.
        root: Folder that the names of the examples are relative to.
        classes: Names of the classes, sorted.
        parts: The examples of `train`, `val` and `test`.
        excluded: What was left out.
        warnings: Lines that the user should read.
        settings: What `load` was asked for, by the names of the run spec.
        task: `image` or `text`.
    """

    source: str
    root: Path
    classes: list[str]
    parts: dict[str, list[Example]]
    excluded: list[Excluded] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    settings: dict = field(default_factory=dict)
    task: str = "image"

    def counts(self) -> dict[str, dict[str, int]]:
        """Counts the examples of each class in each part."""
        counted = {part: Counter(example.label for example in self.parts[part]) for part in PARTS}
        return {name: {part: counted[part][name] for part in PARTS} for name in self.classes}

    def summary(self) -> str:
        """Says in one line what there is."""
        sizes = ", ".join(f"{len(self.parts[part]):,} {part}" for part in PARTS)
        total = sum(len(examples) for examples in self.parts.values())
        excluded = len(self.excluded)
        what = "file" if self.task == "image" else "text"
        left_out = f"; {excluded:,} {what if excluded == 1 else f'{what}s'} left out" if excluded else ""
        return f"{total:,} {self.task}s, {len(self.classes)} classes: {sizes}{left_out}"

    def write(self, folder: str | os.PathLike) -> None:
        """Writes `split.csv` (path, label, part, sha256) and `excluded.csv` (path, reason) into a folder."""
        rows = [(e.name, e.label, part, e.sha256) for part in PARTS for e in self.parts[part]]
        atomic_write(
            Path(folder, "excluded.csv"), _csv(("path", "reason"), [(e.name, e.reason) for e in self.excluded])
        )
        atomic_write(Path(folder, "split.csv"), _csv(("path", "label", "part", "sha256"), rows))

    @classmethod
    def read(
        cls,
        folder: str | os.PathLike,
        source: str,
        root: Path,
        settings: dict,
        verified: Sequence[str] = PARTS,
        look_again: Callable[[Sequence[Example]], Sequence[Example]] | None = None,
        task: str = "image",
    ) -> Data:
        """Restores the split that `write` recorded, after making sure that its files are what they were.

        Args:
            folder: Where `split.csv` lies.
            source: As in `load`.
            root: Folder that the recorded names are relative to.
            settings: As in `load`.
            verified: Parts whose examples must be there, unchanged.
            look_again: Gives recorded examples as they are now; an empty `sha256` is one that is gone. Files of images
                are checked where not given.
            task: As in `load`.

        Raises:
            TlkerasError: Files are missing or have changed; the message counts them and names the first. Or the record
                itself is damaged.
        """
        if not Path(folder, "split.csv").is_file():
            raise TlkerasError(f"{folder} has no split.csv, so nothing says what the run learnt from")
        examples = [
            Example(root / row["path"], row["path"], row["label"], row["part"], row["sha256"])
            for row in _rows(Path(folder, "split.csv"), ("path", "label", "part", "sha256"))
        ]
        needed = [example for example in examples if example.part in verified]
        now = (look_again or (lambda examples: _images_now(examples, root)))(needed)
        wrong = [e.name for e, found in zip(needed, now, strict=True) if found.sha256 != e.sha256]
        if wrong:
            first = ", ".join(map(ascii, wrong[:3]))
            what = "files" if task == "image" else "texts"
            raise TlkerasError(
                f"{len(wrong)} of {len(needed)} {what} of the recorded split are missing or have changed since, in "
                f"{root}: {first}{', …' if len(wrong) > 3 else ''}; put them back, or start a new run"
            )
        examples = [*now, *(example for example in examples if example.part not in verified)]
        parts = {part: [example for example in examples if example.part == part] for part in PARTS}
        classes = sorted({example.label for example in examples})
        excluded = [
            Excluded(row["path"], row["reason"]) for row in _rows(Path(folder, "excluded.csv"), ("path", "reason"))
        ]
        return cls(source, root, classes, parts, excluded, [], settings, task)


def _images_now(examples: Sequence[Example], root: Path) -> list[Example]:
    checked = check.check([example.path for example in examples], root)
    return [replace(example, sha256=now.sha256) for example, now in zip(examples, checked, strict=True)]


def _csv(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    text = io.StringIO()
    # A carriage return in a name is legal, and left bare by the minimal quoting of Python 3.11 and 3.12.
    odd = any("\r" in cell for row in rows for cell in row)
    quoting = csv.QUOTE_ALL if odd else csv.QUOTE_MINIMAL
    csv.writer(text, lineterminator="\n", quoting=quoting).writerows([header, *rows])
    return text.getvalue()


def _rows(file: Path, columns: tuple[str, ...]) -> list[dict]:
    with file.open(newline="", encoding="utf-8", errors="surrogateescape") as opened:
        reader = csv.DictReader(opened)
        rows = list(reader)
    if tuple(reader.fieldnames or ()) != columns or any(None in row or None in row.values() for row in rows):
        raise TlkerasError(f"{file} is damaged: its columns are no longer {', '.join(columns)}; start a new run")
    return rows
