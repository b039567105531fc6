"""A CSV file with a column of paths and a column of labels."""

from __future__ import annotations

import csv
from pathlib import Path

from tlkeras.data.dataset import PARTS, Example, Source
from tlkeras.data.sources.labels import class_name
from tlkeras.errors import TlkerasError


def find(path: str, *, path_column: str = "path", label_column: str = "label", text_column: str = "", **_) -> Source:
    """Reads the rows of a CSV file; a column `part` with `train`, `val` or `test`, where there is one, is kept.

    Paths are absolute or relative to the folder of the CSV file, which is UTF-8 with or without a byte order mark.

    Raises:
        TlkerasError: The file is missing, lacks a column, or a row has no path, no label or an unknown part.
    """
    file = Path(path).expanduser().absolute()
    if not file.is_file():
        raise TlkerasError(f"the CSV file {path!r} {'is a folder' if file.is_dir() else 'does not exist'}")
    examples = []
    try:
        # Names of files need not be UTF-8; what is not survives as surrogates.
        with file.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as opened:
            reader = csv.DictReader(opened)
            _refuse_missing_columns(path, reader.fieldnames or [], path_column, label_column, text_column)
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                examples.append(_example(row, file.parent, path_column, label_column, where))
    except (OSError, csv.Error) as error:
        raise TlkerasError(f"{path} cannot be read as CSV: {error}") from error
    if not examples:
        raise TlkerasError(f"{path} has no rows under its header")
    return Source(file.parent, examples)


def _refuse_missing_columns(
    path: str, columns: list[str], path_column: str, label_column: str, text_column: str
) -> None:
    missing = [name for name in (path_column, label_column) if name not in columns]
    if len(columns) == 1 and (other := next((mark for mark in ";\t|" if mark in columns[0]), "")):
        raise TlkerasError(f"{path} separates its columns by {other!r}; a CSV file here has commas: save it so")
    if missing and any("\0" in name for name in columns):
        raise TlkerasError(f"{path} is no UTF-8 text (UTF-16, it seems): save it as CSV UTF-8")
    if path_column in missing and text_column in columns:
        raise TlkerasError(
            f"{path} has no column {path_column!r} of images, but one of texts, {text_column!r}: choose a text "
            f"backbone such as minilm_l6"
        )
    if missing:
        raise TlkerasError(
            f"{path} has no column {' and no column '.join(map(repr, missing))}; name them with --path-column and "
            f"--label-column. Its columns: {', '.join(map(ascii, columns)) or 'none, the file is empty'}"
        )


def _example(row: dict, root: Path, path_column: str, label_column: str, where: str) -> Example:
    name, label = row[path_column], (row[label_column] or "").strip()
    part = None if "part" in (path_column, label_column) else (row.get("part") or "").strip() or None
    if not name or not label:
        raise TlkerasError(f"{where}: a row needs a path and a label. Received: {name!r}, {label!r}")
    if part not in (*PARTS, None):
        raise TlkerasError(f"{where}: the column part takes {', '.join(PARTS)} or nothing. Received: {part!r}")
    return Example(root / name, name, class_name(label, where), part)
