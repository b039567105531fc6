"""Every text is checked before training, as every image is: what is good is hashed, what is not gets a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlkeras.data.check import Progress
from tlkeras.data.dataset import Example
from tlkeras.files import read_regular

# More than a book; a model sees the first few hundred words.
MAX_BYTES = 2**22


def check(examples: Sequence[Example], progress: Progress | None = None) -> list[tuple[Example, str]]:
    """Checks texts, those of files as they are read.

    Args:
        examples: With a `text`, or with the `path` of a file that is one.
        progress: Called with (texts done, texts in all).

    Returns:
        Each example with its text and the SHA-256 of its UTF-8, in order; and the reason why it is left out, or an
        empty one.
    """
    outcomes = []
    for done, example in enumerate(examples, start=1):
        outcomes.append(_checked(example))
        if progress and (done % 256 == 0 or done == len(examples)):
            progress(done, len(examples))
    return outcomes


def _checked(example: Example) -> tuple[Example, str]:
    try:
        content = read(example.path) if example.text is None else example.text.encode("utf-8", "surrogateescape")
    except OSError as error:
        return example, f"cannot be read: {error.strerror}"
    reason = reason_against(content) or ("" if content.strip() else "empty: no text")
    if reason:
        return example, reason
    text = decode(content)
    return replace(example, text=text, sha256=hashlib.sha256(text.encode()).hexdigest()), ""


def read(path: Path) -> bytes:
    """Reads a file of one text, and of one that is too long no more than shows it.

    Raises:
        OSError: It cannot be read.
    """
    return read_regular(path, MAX_BYTES + 1)


def reason_against(content: bytes) -> str:
    """Says why bytes cannot be used as a text; empty where they can."""
    if len(content) > MAX_BYTES:
        return f"absurdly long: more than {MAX_BYTES:,} bytes"
    if b"\0" in content:
        return "no text: it has a NUL byte"
    try:
        decode(content)
    except UnicodeDecodeError as error:
        return f"no UTF-8 text: byte {content[error.start]:#04x} at {error.start:,}"
    return ""


def beginning(text: str, most: int) -> str:
    """Gives a text on one line, cut to so many letters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def decode(content: bytes) -> str:
    """Decodes UTF-8 with or without a byte order mark.

    Raises:
        UnicodeDecodeError: It is something else.
    """
    return content.decode("utf-8-sig")
