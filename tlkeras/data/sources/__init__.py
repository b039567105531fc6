"""Where labelled images come from. Every source ends as image files on disk, so that all that follows is the same."""

from __future__ import annotations

from pathlib import Path

from tlkeras.data.dataset import Source
from tlkeras.data.sources import csv_file, digits, folder, tfds
from tlkeras.errors import unknown_name

# Scheme of a source that is no folder -> the function that finds its images, given what stands behind the colon.
SCHEMES = {"csv": csv_file.find, "tfds": tfds.find, "digits": digits.find}
_PLAIN = ("digits",)
# Settings of a run that decide what a source holds.
OPTIONS = ("path_column", "label_column", "data_dir", "download")


def find(source: str, **options) -> Source:
    """Finds the images of a source.

    Args:
        source: A folder, `csv:FILE`, `tfds:NAME[:CONFIG]` or `digits`.
        **options: `path_column` and `label_column` for CSV; `data_dir` and `download` for TFDS.

    Raises:
        TlkerasError: There is no such source, or it holds no labelled images.
    """
    scheme, rest = _parsed(source)
    return folder.find(rest) if scheme is None else SCHEMES[scheme](rest, **options)


def root(source: str, **options) -> Path:
    """Gives the folder that the recorded names of a source are relative to, without a look at each file.

    Args:
        source: As in `find`.
        **options: As in `find`.
    """
    scheme, rest = _parsed(source)
    if scheme is None:
        return Path(rest).expanduser().absolute()
    return Path(rest).expanduser().absolute().parent if scheme == "csv" else find(source, **options).root


def absolute(source: str) -> str:
    """Writes a source so that it means the same from any folder."""
    scheme, rest = _parsed(source)
    if scheme is None:
        return str(Path(rest).expanduser().absolute())
    return f"csv:{Path(rest).expanduser().absolute()}" if scheme == "csv" else source


def _parsed(source: str) -> tuple[str | None, str]:
    scheme, colon, rest = source.partition(":")
    if source in _PLAIN or (colon and scheme in SCHEMES):
        return scheme, rest
    if colon and scheme.isalpha() and len(scheme) > 1 and not Path(source).exists():
        raise unknown_name("kind of data source", scheme, [*SCHEMES, "or a folder"])
    return None, source
