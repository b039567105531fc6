"""Where labelled data comes from: image files on disk, or texts in files and in the rows of tables."""

from __future__ import annotations

from pathlib import Path

from tlkeras.data.dataset import Source
from tlkeras.data.sources import csv_file, digits, folder, tables, tfds
from tlkeras.errors import TlkerasError, unknown_name

# Task -> scheme of a source that is no folder -> the function that finds its examples, given what follows the colon.
SCHEMES = {
    "image": {"csv": csv_file.find, "tfds": tfds.find, "digits": digits.find},
    "text": {"csv": tables.find_csv, "tsv": tables.find_tsv, "tfds": tfds.find_texts},
}
_ALL = tuple(dict.fromkeys(scheme for schemes in SCHEMES.values() for scheme in schemes))
_PLAIN = ("digits",)
_TABLES = ("csv", "tsv")
# Settings of a run that decide what a source holds.
OPTIONS = ("path_column", "label_column", "text_column", "data_dir", "download")


def find(source: str, task: str = "image", **options) -> Source:
    """Finds the examples of a source.

    Args:
        source: A folder, `csv:FILE`, `tsv:FILE`, `tfds:NAME[:CONFIG]` or `digits`.
        task: `image` or `text`.
        **options: `path_column`, `text_column` and `label_column` of tables; `data_dir` and `download` for TFDS.

    Raises:
        TlkerasError: There is no such source, or it holds no labelled examples of that task.
    """
    scheme, rest = _parsed(source)
    if scheme is None:
        return folder.find(rest) if task == "image" else folder.find_texts(rest)
    if scheme not in SCHEMES[task]:
        other = "a text backbone such as minilm_l6" if task == "image" else "an image backbone"
        raise TlkerasError(f"{source} holds no {task}s, which the backbone takes: choose {other}, or other data")
    return SCHEMES[task][scheme](rest, **options)


def root(source: str, task: str = "image", **options) -> Path:
    """Gives the folder that the recorded names of a source are relative to, without a look at each file.

    Args:
        source: As in `find`.
        task: As in `find`.
        **options: As in `find`.
    """
    scheme, rest = _parsed(source)
    if scheme is None:
        return Path(rest).expanduser().absolute()
    return Path(rest).expanduser().absolute().parent if scheme in _TABLES else find(source, task, **options).root


def absolute(source: str) -> str:
    """Writes a source so that it means the same from any folder."""
    scheme, rest = _parsed(source)
    if scheme is None:
        return str(Path(rest).expanduser().absolute())
    return f"{scheme}:{Path(rest).expanduser().absolute()}" if scheme in _TABLES else source


def is_table(source: str) -> bool:
    """Says whether the texts of a source are rows of a table, and not files of their own."""
    return _parsed(source)[0] in _TABLES


def _parsed(source: str) -> tuple[str | None, str]:
    scheme, colon, rest = source.partition(":")
    if source in _PLAIN or (colon and scheme in _ALL):
        return scheme, rest
    if colon and scheme.isalpha() and len(scheme) > 1 and not Path(source).exists():
        raise unknown_name("kind of data source", scheme, [*_ALL, "or a folder"])
    return None, source
