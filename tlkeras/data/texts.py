"""Every text is checked before training, as every image is: what is good is hashed, what is not gets a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

from tlkeras.data.check import Progress
from tlkeras.data.dataset import Example
from tlkeras.text_files import decode, read, reason_against


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
    if reason := reason_against(content):
        return example, reason
    text = decode(content)
    return replace(example, text=text, sha256=hashlib.sha256(text.encode()).hexdigest()), ""
