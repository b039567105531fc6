"""Cards: what there is to know about a backbone before it is built, read from `zoo/*.toml`. No TensorFlow."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from importlib import resources
from pathlib import Path
from typing import Any

from tlkeras.errors import TlkerasError, unknown_name

# The legal words in a card; `backbones/` says what they do, and a test holds the two together.
PREPROCESSES = ("none", "unit", "tf", "torch", "caffe")
SCHEMES = ("keras", "pypi")


@dataclass(frozen=True)
class Card:
    """One backbone: where its weights come from, what it takes and gives, and the stages that it consists of.

    Attributes:
        name: What the user calls it; unique among all cards.
        family: The architecture, which chooses the builder of a network that is written here.
        source: `keras:CLASS` (of keras.applications) or `pypi:PACKAGE==VERSION` (a wheel with one .pth file in it).
        input_size: Height and width in pixels that the weights were trained at.
        features: Channels of the feature map.
        parameters: All weights of the network without its classifier, moving statistics of BatchNorm included: what
            `count_params()` says.
        preprocess: How RGB 0..255 is normalised: a name, or a table `{mean, std}` on that scale.
        stages: Regular expressions, input to output, one a stage; each is matched against whole layer names.
        license: SPDX name of the licence of the weights.
        sha256: Of the file that holds the weights, where it is not checked by Keras.
        top1: ImageNet top-1 accuracy, 0..1, as published.
        task: What goes in.
    """

    name: str
    family: str
    source: str
    input_size: int
    features: int
    parameters: int
    preprocess: str | dict
    stages: tuple[str, ...]
    license: str
    sha256: str | None = None
    top1: float | None = None
    task: str = "image"

    @property
    def scheme(self) -> str:
        """The part of `source` before the colon."""
        return self.source.partition(":")[0]

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold; `from_dict` takes them back."""
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Card:
        """Checks plain values and makes the card; a TlkerasError names the card and the key."""
        where = f"card {values.get('name', 'without a name')!r}"
        legal = [field.name for field in fields(cls)]
        for key in values:
            if key not in legal:
                raise TlkerasError(f"{where}: {unknown_name('key', key, legal)}")
        for field in fields(cls):
            if field.name not in values and field.default is MISSING:
                raise TlkerasError(f"{where}: the key {field.name!r} is missing")
        for key, value in values.items():
            legal_value, holds = _RULES[key]
            if not holds(value):
                raise TlkerasError(f"{where}, key {key!r}: must be {legal_value}. Received: {value!r}")
        return cls(**{**values, "stages": tuple(values["stages"])})


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_preprocess(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value in PREPROCESSES
    if set(value) != {"mean", "std"}:
        return False
    rows = [list(v) if isinstance(v, (list, tuple)) else [v] for v in (value["mean"], value["std"])]
    return all(len(row) in (1, 3) and all(map(_is_number, row)) for row in rows) and all(s > 0 for s in rows[1])


def _are_patterns(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or not value or not all(map(_is_text, value)):
        return False
    try:
        return all(re.compile(pattern) for pattern in value)
    except re.error:
        return False


def _is_source(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"keras:\w+|pypi:[\w.-]+==[\w.+!-]+", value))


_TEXT, _COUNT = ("text", _is_text), ("a whole number above 0", _is_count)
_RULES = {
    "name": ("a word of letters, digits, '_', '-', '.'", lambda v: _is_text(v) and bool(re.fullmatch(r"[\w.-]+", v))),
    "family": _TEXT,
    "source": (f"one of {', '.join(f'{s}:…' for s in SCHEMES)} (keras:CLASS, pypi:PACKAGE==VERSION)", _is_source),
    "input_size": _COUNT,
    "features": _COUNT,
    "parameters": _COUNT,
    "preprocess": (f"one of {', '.join(PREPROCESSES)}, or a table {{ mean, std }} of 1 or 3 numbers", _is_preprocess),
    "stages": ("a list of regular expressions, one or more", _are_patterns),
    "license": _TEXT,
    "sha256": ("64 hexadecimal digits", lambda v: v is None or bool(re.fullmatch(r"[0-9a-f]{64}", str(v)))),
    "top1": ("a share from 0 to 1", lambda v: v is None or (_is_number(v) and 0 <= v <= 1)),
    "task": ("'image'", lambda v: v == "image"),
}


def read(path: str | Path) -> list[Card]:
    """Reads one card file: a table `[[variant]]` for each card; keys above the variants hold for all of them.

    Raises a TlkerasError that names the file, the variant and the key.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TlkerasError(f"{path}: cannot be read as a card file: {error}") from None
    shared = {key: value for key, value in content.items() if key != "variant"}
    variants = content.get("variant")
    if not isinstance(variants, list) or not variants or not all(isinstance(v, dict) for v in variants):
        raise TlkerasError(f"{path}: a card file needs one [[variant]] or more")
    try:
        return [Card.from_dict({**shared, **variant}) for variant in variants]
    except TlkerasError as error:
        raise TlkerasError(f"{path}: {error}") from None


def cards() -> dict[str, Card]:
    """Returns all cards by name, sorted: those that come with tlkeras and those in the folder `$TLKERAS_ZOO`."""
    found: dict[str, tuple[Card, Path]] = {}
    for path in _card_files():
        for card in read(path):
            if card.name in found:
                raise TlkerasError(f"two cards are named {card.name!r}: in {found[card.name][1]} and in {path}")
            found[card.name] = (card, path)
    return {name: found[name][0] for name in sorted(found)}


def card(name: str) -> Card:
    """Returns the card of that name; for an unknown one the TlkerasError lists the nearest and all others."""
    known = cards()
    if name not in known:
        raise unknown_name("backbone", name, known)
    return known[name]


def _card_files() -> list[Path]:
    folders = [Path(str(resources.files("tlkeras_zoo")))]
    if own := os.environ.get("TLKERAS_ZOO"):
        folders.append(Path(own).expanduser())
        if not folders[-1].is_dir():
            raise TlkerasError(f"$TLKERAS_ZOO must be a folder of card files. Received: {own!r}")
    return [path for folder in folders for path in sorted(folder.glob("*.toml"))]
