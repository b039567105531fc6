"""The split: made once, seeded, the same on every machine, with no picture in two parts."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from tlkeras.data.dataset import PARTS, Example, Excluded
from tlkeras.errors import TlkerasError

# Of the same picture in two parts the one is kept that makes the test the hardest to cheat.
_KEPT_FIRST = {"test": 0, "val": 1, "train": 2, None: 3}


def without_copies(examples: Sequence[Example], what: str = "picture") -> tuple[list[Example], list[Excluded]]:
    """Keeps each picture once: in the test part before the others, else the first by name.

    A picture that stands under two labels is left out altogether, since neither can be believed.

    Args:
        examples: With the SHA-256 of what they are.
        what: That, for the reason: `picture` or `text`.
    """
    same = defaultdict(list)
    for example in sorted(examples, key=lambda e: (_KEPT_FIRST[e.part], e.name)):
        same[example.sha256].append(example)
    kept, excluded = [], []
    for first, *others in same.values():
        labels = sorted({example.label for example in (first, *others)})
        if len(labels) > 1:
            reason = f"the same {what} is labelled {' and '.join(labels)}"
            excluded += [Excluded(example.name, reason) for example in (first, *others)]
        else:
            kept.append(first)
            excluded += [Excluded(example.name, f"the same {what} as {first.name}") for example in others]
    return sorted(kept, key=lambda example: example.name), excluded


def assign(examples: Sequence[Example], fractions: Sequence[float], seed: int) -> list[Example]:
    """Gives each example its part; parts that the data came with stay, missing ones are cut from what is left.

    Each class is divided by itself, in an order that depends on seed and names alone, and has one image or more in
    each part.

    Args:
        examples: Examples with `part` set, or None where it is to be decided.
        fractions: Shares of train, val and test; three numbers above 0 with a sum of 1. Of the missing parts each
            gets its share of all images that are there to be divided.
        seed: Another seed gives another split.

    Raises:
        TlkerasError: The fractions are not legal.
    """
    if len(fractions) != 3 or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-6:
        raise TlkerasError(f"a split is three shares above 0 with a sum of 1. Received: {list(fractions)}")
    given = {example.part for example in examples if example.part}
    to_cut = {
        part: share for part, share in zip(PARTS, fractions, strict=True) if part not in given and part != "train"
    }
    divided = [example for example in examples if example.part in (None, "train")]
    by_class = defaultdict(list)
    for example in divided:
        by_class[example.label].append(example)
    assigned = [example for example in examples if example.part not in (None, "train")]
    for members in by_class.values():
        members.sort(key=lambda example: _rank(example, seed))
        for part, count in _counts(to_cut, len(members)).items():
            assigned += [replace(example, part=part) for example in members[:count]]
            members = members[count:]
        assigned += [replace(example, part="train") for example in members]
    return sorted(assigned, key=lambda example: example.name)


def _counts(shares: dict[str, float], total: int) -> dict[str, int]:
    """Rounds shares to one or more of `total`, such that one is left for train."""
    counts = {part: max(1, round(share * total)) for part, share in shares.items()}
    while counts and sum(counts.values()) >= total:
        counts[max(counts, key=counts.get)] -= 1
    return counts


def too_small(examples: Sequence[Example], what: str = "images") -> dict[str, str]:
    """Names the classes with too few images or texts to be in each part, with the reason."""
    given = {example.part for example in examples if example.part}
    needed = 3 - len(given & {"val", "test"})
    have = defaultdict(int)
    for example in examples:
        have[example.label] += example.part in (None, "train")
    return {
        label: f"class {label!r} has {count} usable {what} to divide; {needed} or more are needed"
        for label, count in sorted(have.items())
        if count < needed
    }


def _rank(example: Example, seed: int) -> str:
    return hashlib.sha256(f"{seed}\0{example.name}".encode("utf-8", "surrogateescape")).hexdigest()
