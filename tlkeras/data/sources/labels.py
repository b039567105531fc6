"""What may be the name of a class, and which classes the parts of a data set may have."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Sequence

from tlkeras.data.dataset import Example
from tlkeras.errors import TlkerasError


def class_name(text: str, where: str) -> str:
    """Gives a label in the form that it has everywhere: trimmed, and composed as NFC, since macOS composes otherwise.

    Args:
        text: The label as found.
        where: Where it stands, for the message.

    Raises:
        TlkerasError: It has control characters or is no UTF-8, so that no label file could hold it.
    """
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in text):
        raise TlkerasError(f"a class name is text of one line in UTF-8. Received: {text!a} for {where!a}; rename it")
    return unicodedata.normalize("NFC", text.strip())


def refuse_other_classes(source: str, examples: Sequence[Example]) -> None:
    """Makes sure that val and test ask for no class that train does not teach.

    Raises:
        TlkerasError: They do; the message names part and classes.
    """
    classes = defaultdict(set)
    for example in examples:
        classes[example.part].add(example.label)
    taught = classes.pop("train", set()) | classes.pop(None, set())
    for part, labels in sorted(classes.items()):
        if not taught:
            raise TlkerasError(f"{source} has a part {part} but no part train to learn from")
        if others := sorted(labels - taught):
            raise TlkerasError(
                f"the part {part} of {source} has classes that train has not: {', '.join(others)}; move some of theirs "
                f"to train, or take them out"
            )
