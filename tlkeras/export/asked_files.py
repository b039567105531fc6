"""Files of the user's, asked of an export in Python and in C, which must agree."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlkeras import asked, patterns
from tlkeras.errors import TlkerasError
from tlkeras.export.contract import About
from tlkeras.export.golden import TOLERANCE
from tlkeras.export.messages import predict_log
from tlkeras.export.replay import Ask, agree

_SUFFIXES = (*patterns.IMAGES, *patterns.TEXTS)
# So many are asked about at a time, and fewer where they have more bytes together.
_BATCH, _MOST_BYTES = 32, 2**25
# So many of the unanswered are named.
_NAMED = 5


def expand(files: Sequence[str | Path]) -> list[Path]:
    """Lists files; a folder stands for the image and text files in it.

    Raises:
        TlkerasError: One does not exist, or a folder has none.
    """
    found: list[Path] = []
    for path in map(Path, files):
        if not path.exists():
            raise TlkerasError(f"there is no file {path}")
        listed = list(patterns.walk(path, _SUFFIXES)) if path.is_dir() else [path]
        if not listed:
            raise TlkerasError(f"no image or text files in {path}; they end in {', '.join(_SUFFIXES)}")
        found += listed
    return found


def check(files: Sequence[Path], about: About, python: Ask, native: Ask | None) -> str:
    """Asks `serving_default` for the files in batches, and names those that are not answered.

    Raises:
        TlkerasError: Python and C answer differently, one refuses a batch, or no file is answered.
    """
    unanswered: dict[Path, str] = {}
    difference, count = 0.0, 0
    for read in asked.batches(files, about.is_text, _BATCH, _MOST_BYTES):
        unanswered |= {found.one: found.reason for found in read if found.reason}
        batch = {found.one: found.content for found in read if not found.reason}
        if not batch:
            continue
        log = predict_log("serving_default", {about.takes: list(batch.values())})
        answer = python(log)
        if native:
            try:
                difference = max(difference, agree(answer, native(log), TOLERANCE))
            except TlkerasError as error:
                raise TlkerasError(f"{next(iter(batch))} and {len(batch) - 1} others: {error}") from error
        errors = answer.get("error", np.full(len(batch), b"", object))
        refused = {file: error.decode("utf-8", "replace") for file, error in zip(batch, errors, strict=True) if error}
        unanswered |= refused
        count += len(batch) - len(refused)
    compared = f"in Python and C alike, largest difference {difference:.1e}" if native else "in Python alone"
    named = [f"{file} ({why})" for file, why in itertools.islice(unanswered.items(), _NAMED)]
    if len(unanswered) > _NAMED:
        named.append(f"{len(unanswered) - _NAMED} others")
    if not count:
        raise TlkerasError(f"no file is answered: {', '.join(named)}")
    return "; not answered: ".join([f"{count} answered {compared}", *([", ".join(named)] if named else [])])
