"""A CSV file with a column of paths and a column of labels."""

from __future__ import annotations

import csv
from pathlib import Path

from tlkeras.data.dataset import PARTS, Example, Source
from tlkeras.errors import TlkerasError


def find(path: str, *, path_column: str = "path", label_column: str = "label", **_) -> Source:
    """Reads the rows of a CSV file; a column `part` with `train`, `val` or `test`, where there is one, is kept.

    Paths are absolute or relative to the folder of the CSV file, which is UTF-8 with or without a byte order mark.

    Raises:
        TlkerasError: The file is missing, lacks a column, or a row has no path, no label or an unknown part.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise TlkerasError(f"the CSV file {path} does not exist")
    try:
        with file.open(newline="", encoding="utf-8-sig") as opened:
            reader = csv.DictReader(opened)
            rows, columns = list(reader), reader.fieldnames or []
    except (UnicodeDecodeError, csv.Error) as error:
        raise TlkerasError(f"{path} cannot be read as CSV in UTF-8: {error}") from error
    missing = [name for name in (path_column, label_column) if name not in columns]
    if missing:
        raise TlkerasError(
            f"{path} has no column {' and no column '.join(map(repr, missing))}; name them with --path-column and "
            f"--label-column. Its columns: {', '.join(columns) or 'none'}"
        )
    examples = [
        _example(row, file.parent, path_column, label_column, f"{path}, line {line}")
        for line, row in enumerate(rows, start=2)
    ]
    if not examples:
        raise TlkerasError(f"{path} has no rows")
    return Source(file.parent, examples)


def _example(row: dict, root: Path, path_column: str, label_column: str, where: str) -> Example:
    name, label, part = row[path_column], (row[label_column] or "").strip(), (row.get("part") or "").strip() or None
    if not name or not label:
        raise TlkerasError(f"{where}: a row needs a path and a label. Received: {name!r}, {label!r}")
    if part not in (*PARTS, None):
        raise TlkerasError(f"{where}: the column part takes {', '.join(PARTS)} or nothing. Received: {part!r}")
    return Example(root / Path(name).expanduser(), name, label, part)
