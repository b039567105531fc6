"""Texts in the rows of a table: CSV with its quotes, or TSV without any."""

from __future__ import annotations

import contextlib
import csv
from collections.abc import Iterator
from pathlib import Path

from tlkeras.data.dataset import PARTS, Example, Excluded, Source
from tlkeras.data.sources.labels import class_name
from tlkeras.errors import TlkerasError

# Larger than any text that is kept, so that one that is too long is left out by itself.
_LARGEST_CELL = 2**30


def find_csv(path: str, *, text_column: str = "text", label_column: str = "label", **_) -> Source:
    """Reads the rows of a CSV file: commas, and quotes around what has commas, quotes or line breaks in it.

    The file is UTF-8, with or without a byte order mark. Its first line names the columns; a column given as a number
    counts from 1 and means that there is no such line. A column `part` with `train`, `val` or `test` is kept. Rows
    without a text or a label are left out with that reason. A text is named by file and line: `reviews.csv:17`.

    Raises:
        TlkerasError: The file is missing, lacks a column, is no CSV, or a part is unknown.
    """
    return _find(path, text_column, label_column, delimiter=",", strict=True)


def find_tsv(path: str, *, text_column: str = "text", label_column: str = "label", **_) -> Source:
    """Reads the rows of a TSV file as `find_csv` does: tabs between columns; a quote is a letter like others.

    Raises:
        TlkerasError: As `find_csv`.
    """
    return _find(path, text_column, label_column, delimiter="\t", quoting=csv.QUOTE_NONE)


def _find(path: str, text_column: str, label_column: str, **form) -> Source:
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise TlkerasError(f"the table {path!r} {'is a folder' if file.is_dir() else 'does not exist'}")
    examples, excluded = [], []
    # What is no UTF-8 survives as surrogates until its row is left out.
    with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as opened:
        rows = _rows(path, opened, **form)
        columns = _columns(path, next(rows, (0, []))[1], text_column, label_column)
        if text_column.isdecimal():
            opened.seek(0)
            rows = _rows(path, opened, **form)
        for line, row in rows:
            name = f"{file.name}:{line}"
            reason = _reason_against(row, columns)
            if reason:
                excluded.append(Excluded(name, reason))
            else:
                examples.append(_example(file, name, row, columns))
    if not examples:
        why = f"; the first, {excluded[0].name}: {excluded[0].reason}" if excluded else ""
        raise TlkerasError(f"{path} has no rows with a text and a label{why}")
    return Source(file.parent, examples, excluded)


def _rows(path: str, opened, **form) -> Iterator[tuple[int, list[str]]]:
    """Gives each row with the number of the line that it begins in; lines without anything are passed over."""
    reader = csv.reader(opened, **form)
    while True:
        line = reader.line_num + 1
        try:
            with _large_cells():
                row = next(reader)
        except StopIteration:
            return
        except (OSError, csv.Error) as error:
            raise TlkerasError(f"{path}, line {line}: cannot be read as a table: {error}") from error
        if row:
            yield line, row


@contextlib.contextmanager
def _large_cells() -> Iterator[None]:
    before = csv.field_size_limit(_LARGEST_CELL)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _columns(path: str, first: list[str], text_column: str, label_column: str) -> dict[str, int]:
    """Finds the places of text, label and, where there is one, part; the first row names them or is one like others."""
    if not first:
        raise TlkerasError(f"{path} is empty")
    if any("\0" in cell for cell in first):
        raise TlkerasError(f"{path} is no UTF-8 text (UTF-16, it seems): save it as UTF-8")
    wanted = {"text": text_column, "label": label_column}
    if text_column == label_column:
        raise TlkerasError(f"--text-column and --label-column name one column, {text_column!r}; a table needs two")
    numbers = [name.isdecimal() for name in wanted.values()]
    if all(numbers):
        places = {key: int(name) - 1 for key, name in wanted.items()}
        if any(not 0 <= place < len(first) for place in places.values()):
            raise TlkerasError(
                f"{path} has {len(first)} columns, counted from 1. Received: --text-column {text_column}, "
                f"--label-column {label_column}"
            )
        return places
    if any(numbers):
        raise TlkerasError(
            f"a column by number means that {path} has no header: give --text-column and --label-column both as "
            f"numbers, or both by name. Received: {text_column}, {label_column}"
        )
    missing = [name for name in wanted.values() if name not in first]
    if missing and any("\ud800" <= letter <= "\udfff" for letter in "".join(first)):
        raise TlkerasError(f"the first line of {path} is no UTF-8: save the table as UTF-8")
    if missing:
        raise TlkerasError(
            f"{path} has no column {' and no column '.join(map(repr, missing))}; name them with --text-column and "
            f"--label-column, or number them from 1 where the file has no header. Its first line: "
            f"{', '.join(ascii(name[:40]) for name in first[:20])}"
        )
    names = ("text", "label", "part") if "part" not in wanted.values() and "part" in first else ("text", "label")
    if twice := [name for name in wanted.values() if first.count(name) > 1]:
        raise TlkerasError(f"{path} has two columns named {twice[0]!r}: rename one")
    return {key: first.index(wanted.get(key, key)) for key in names}


def _reason_against(row: list[str], columns: dict[str, int]) -> str:
    if len(row) <= max(columns.values()):
        return f"too few columns: {len(row)}"
    if not row[columns["label"]].strip():
        return "no label"
    if any("\ud800" <= letter <= "\udfff" for letter in row[columns["label"]]):
        return "the label is no UTF-8"
    return ""


def _example(file: Path, name: str, row: list[str], columns: dict[str, int]) -> Example:
    part = row[columns["part"]].strip() or None if "part" in columns else None
    if part not in (*PARTS, None):
        raise TlkerasError(f"{name}: the column part takes {', '.join(PARTS)} or nothing. Received: {part!r}")
    return Example(file, name, class_name(row[columns["label"]], name), part, text=row[columns["text"]])
