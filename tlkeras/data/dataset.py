"""Labelled images in three parts, and the files that remember them: `split.csv` and `excluded.csv`."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tlkeras.data import check
from tlkeras.errors import TlkerasError
from tlkeras.files import atomic_write

PARTS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled image file.

    Attributes:
        path: Where the file is.
        name: How it is recorded: relative to the root of the data where it lies below it.
        label: Name of its class.
        part: `train`, `val` or `test`; None where that is not decided yet.
        sha256: Of its bytes, in hexadecimal; empty before the check.
    """

    path: Path
    name: str
    label: str
    part: str | None = None
    sha256: str = ""


@dataclass(frozen=True, slots=True)
class Excluded:
    """A file that was left out, and why."""

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
    """

    source: str
    root: Path
    classes: list[str]
    parts: dict[str, list[Example]]
    excluded: list[Excluded] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    settings: dict = field(default_factory=dict)

    def counts(self) -> dict[str, dict[str, int]]:
        """Counts the images of each class in each part."""
        counted = {part: Counter(example.label for example in self.parts[part]) for part in PARTS}
        return {name: {part: counted[part][name] for part in PARTS} for name in self.classes}

    def summary(self) -> str:
        """Says in one line what there is."""
        sizes = ", ".join(f"{len(self.parts[part]):,} {part}" for part in PARTS)
        total = sum(len(examples) for examples in self.parts.values())
        excluded = len(self.excluded)
        left_out = f"; {excluded:,} {'file' if excluded == 1 else 'files'} left out" if excluded else ""
        return f"{total:,} images, {len(self.classes)} classes: {sizes}{left_out}"

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
    ) -> Data:
        """Restores the split that `write` recorded, after making sure that its files are what they were.

        Args:
            folder: Where `split.csv` lies.
            source: As in `load`.
            root: Folder that the recorded names are relative to.
            settings: As in `load`.
            verified: Parts whose files must be there, unchanged.

        Raises:
            TlkerasError: Files are missing or have changed; the message counts them and names the first. Or the record
                itself is damaged.
        """
        if not Path(folder, "split.csv").is_file():
            raise TlkerasError(f"{folder} has no split.csv, so nothing says which images the run learnt from")
        examples = [
            Example(root / row["path"], row["path"], row["label"], row["part"], row["sha256"])
            for row in _rows(Path(folder, "split.csv"), ("path", "label", "part", "sha256"))
        ]
        needed = [example for example in examples if example.part in verified]
        now = check.check([example.path for example in needed], root)
        wrong = [e.name for e, checked in zip(needed, now, strict=True) if checked.sha256 != e.sha256]
        if wrong:
            first = ", ".join(map(ascii, wrong[:3]))
            raise TlkerasError(
                f"{len(wrong)} of {len(needed)} files of the recorded split are missing or have changed since, in "
                f"{root}: {first}{', …' if len(wrong) > 3 else ''}; put them back, or start a new run"
            )
        parts = {part: [example for example in examples if example.part == part] for part in PARTS}
        classes = sorted({example.label for example in examples})
        excluded = [
            Excluded(row["path"], row["reason"]) for row in _rows(Path(folder, "excluded.csv"), ("path", "reason"))
        ]
        return cls(source, root, classes, parts, excluded, [], settings)


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
