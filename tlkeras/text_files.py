"""Texts in files: what can be used as one, how it is read and decoded, and how it is shown on a line."""

from __future__ import annotations

from pathlib import Path

from tlkeras.files import read_regular

# More than a book; a model sees the first few hundred words.
MAX_BYTES = 2**22


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
        return "" if decode(content).strip() else "empty: no text"
    except UnicodeDecodeError as error:
        return f"no UTF-8 text: byte {content[error.start]:#04x} at {error.start:,}"


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
