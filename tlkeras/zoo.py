"""Cards: what there is to know about a backbone before it is built, read from `zoo/*.toml`. No TensorFlow."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from tlkeras import card_files
from tlkeras.errors import TlkerasError, unknown_name

# The legal words in a card; `backbones/` says what they do, and a test holds the two together.
PREPROCESSES = ("none", "unit", "tf", "torch", "caffe")
SCHEMES = ("keras", "pypi", "hub", "file")
TASKS = ("image", "text")
# A pattern is matched against some hundred layer names, and a card may come from anybody.
_LONGEST_PATTERN = 5000


@dataclass(frozen=True)
class Card:
    """One backbone: where its weights come from, what it takes and gives, and the stages that it consists of.

    Attributes:
        name: What the user calls it; unique among all cards.
        family: The architecture, which chooses the builder of a network that is written here.
        source: `keras:CLASS` (of keras.applications), `pypi:PACKAGE==VERSION` (a wheel with the file of weights in it),
            `hub:HANDLE` (a TF-Hub module: folder, archive, or address) or `file:PATH` (a file of weights). In a card
            file, paths are relative to that file.
        input_size: Height and width in pixels that the weights were trained at; for texts the most tokens, or 0 where
            texts may have any length.
        features: Channels of the feature map, or of the embedding.
        parameters: All weights of the network without its classifier, moving statistics of BatchNorm included: what
            `count_params()` says.
        preprocess: How RGB 0..255 is normalised: a name, or a table `{mean, std}` on that scale. `none` for texts, and
            for a hub: module that takes whole numbers.
        stages: Regular expressions, input to output, one a stage; each is matched against whole layer names. A
            hub: card may have none: the stages are then found in the names of the module's variables.
        license: SPDX name of the licence of the weights.
        sha256: Of the file that holds the weights.
        url: Where Keras downloads the weights from.
        md5: Of that file, where that is what Keras knows of it.
        file: Name of the file of weights, where it is not the one .pth file in a wheel, or the end of the url.
        top1: ImageNet top-1 accuracy, 0..1, as published.
        size_mb: Size of the weights in megabytes (of the file with its classifier, for Keras), as published.
        reference: Where top1 and size_mb are published.
        task: What goes in: `image` or `text`.
        output_key: Which output is the embedding, by name or position, where a hub: module gives several.
        arguments: Further arguments of each call of a hub: module.
        preprocessor: `hub:HANDLE` of the module that turns texts into what a hub: encoder takes.
        network: `keras:CLASS` of keras.applications whose weights the file of a file: card holds; without it, the file
            is of a network that is written here.
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
    url: str | None = None
    md5: str | None = None
    file: str | None = None
    top1: float | None = None
    size_mb: float | None = None
    reference: str | None = None
    task: str = "image"
    output_key: str | int | None = None
    arguments: dict = field(default_factory=dict)
    preprocessor: str | None = None
    network: str | None = None

    @property
    def scheme(self) -> str:
        """The part of `source` before the colon."""
        return self.source.partition(":")[0]

    @property
    def application(self) -> str:
        """The function of keras.applications that makes the network; empty where it is another's."""
        scheme, _, name = (self.network or self.source).partition(":")
        return name if scheme == "keras" else ""

    def to_dict(self) -> dict[str, Any]:
        """Returns plain values that JSON can hold; `from_dict` takes them back."""
        return {**asdict(self), "stages": list(self.stages)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Card:
        """Checks plain values and makes the card; a TlkerasError names the card and the key."""
        where = f"card {values.get('name', 'without a name')!r}"
        legal = [item.name for item in fields(cls)]
        for key in values:
            if key not in legal:
                raise TlkerasError(f"{where}: {unknown_name('key', key, [*legal, 'extends'])}")
        needed = [item.name for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING]
        if missing := [repr(name) for name in needed if name not in values]:
            are = "keys {} are" if len(missing) > 1 else "key {} is"
            raise TlkerasError(f"{where}: the {are.format(', '.join(missing))} missing")
        for key, value in values.items():
            legal_value, holds = _RULES[key]
            if not holds(value):
                raise TlkerasError(f"{where}, key {key!r}: must be {legal_value}. Received: {value!r}")
        if not values["stages"] and not values["source"].startswith("hub:"):
            raise TlkerasError(f"{where}, key 'stages': must be {_RULES['stages'][0]}. Received: []")
        scheme = values["source"].partition(":")[0]
        if strange := [key for key, only in _OF_SCHEME.items() if values.get(key) and scheme != only]:
            raise TlkerasError(f"{where}, key {strange[0]!r}: only for {_OF_SCHEME[strange[0]]}: cards")
        if not values["input_size"] and values.get("task", "image") != "text":
            raise TlkerasError(f"{where}, key 'input_size': must be {_COUNT[0]}. Received: 0")
        if values.get("task") == "text" and values["preprocess"] != "none":
            raise TlkerasError(f"{where}, key 'preprocess': must be none for texts. Received: {values['preprocess']!r}")
        return cls(**{**values, "stages": tuple(values["stages"])})


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_hash(value: Any, digits: int) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(f"[0-9a-f]{{{digits}}}", value))


def _is_preprocess(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value in PREPROCESSES
    if set(value) != {"mean", "std"}:
        return False
    rows = [list(v) if isinstance(v, (list, tuple)) else [v] for v in (value["mean"], value["std"])]
    return all(len(row) in (1, 3) and all(map(_is_number, row)) for row in rows) and all(s > 0 for s in rows[1])


def _are_patterns(value: Any) -> bool:
    if not isinstance(value, (list, tuple)) or not all(map(_is_text, value)):
        return False
    try:
        return all(len(pattern) <= _LONGEST_PATTERN and re.compile(pattern) for pattern in value) and not any(
            _repeats_a_group(pattern) for pattern in value
        )
    except (re.error, OverflowError, RecursionError):
        return False


def _repeats_a_group(pattern: str) -> bool:
    """Finds what makes a match take for ever, such as `(a+)+`; no layer name needs it."""
    return bool(re.search(r"\)[*+{]", re.sub(r"\\.|\[\]?[^]]*\]", "x", pattern)))


def _is_plain(value: Any) -> bool:
    return (
        isinstance(value, (bool, str)) or _is_number(value) or (isinstance(value, list) and all(map(_is_plain, value)))
    )


def _is_url(value: Any) -> bool:
    """An address whose last part can be the name of a file."""
    return isinstance(value, str) and bool(re.fullmatch(r"https://[!-~]+/(?!\.)[\w.-]+", value, re.ASCII))


def _is_source(value: Any) -> bool:
    return isinstance(value, str) and bool(re.fullmatch(r"keras:\w+|pypi:\w[\w.-]*==[\w.+!-]+|(hub|file):\S.*", value))


# Keys that mean something to one scheme of sources alone.
_OF_SCHEME = {
    **dict.fromkeys(("output_key", "arguments", "preprocessor"), "hub"),
    **dict.fromkeys(("url", "md5"), "keras"),
    "network": "file",
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_TEXT, _COUNT = ("text", _is_text), ("a whole number above 0", _is_count)
_RULES = {
    "name": ("a word of letters, digits, '_', '-', '.'", lambda v: _is_text(v) and bool(_NAME.fullmatch(v))),
    "family": _TEXT,
    "source": ("one of keras:CLASS, pypi:PACKAGE==VERSION, hub:HANDLE, file:PATH", _is_source),
    "input_size": ("a whole number from 1 to 4096; for texts also 0", lambda v: v == 0 or (_is_count(v) and v <= 4096)),
    "features": _COUNT,
    # A module may hide its weights from view.
    "parameters": ("a whole number", lambda v: v == 0 or _is_count(v)),
    "preprocess": (f"one of {', '.join(PREPROCESSES)}, or a table {{ mean, std }} of 1 or 3 numbers", _is_preprocess),
    "stages": (
        f"a list of regular expressions, one or more, each of {_LONGEST_PATTERN} characters at most, no group repeated",
        _are_patterns,
    ),
    "license": _TEXT,
    "sha256": (
        "64 hexadecimal digits",
        lambda v: v is None or _is_hash(v, 64),
    ),
    "url": ("an https address of a file", lambda v: v is None or _is_url(v)),
    "md5": ("32 hexadecimal digits", lambda v: v is None or _is_hash(v, 32)),
    "file": ("the name of a file", lambda v: v is None or (_is_text(v) and not re.search(r"[/\\]|^\.\.?$", v))),
    "top1": ("a share from 0 to 1", lambda v: v is None or (_is_number(v) and 0 <= v <= 1)),
    "size_mb": ("a number of megabytes", lambda v: v is None or (_is_number(v) and v > 0)),
    "reference": ("text", lambda v: v is None or _is_text(v)),
    "task": (f"one of {', '.join(TASKS)}", lambda v: v in TASKS),
    "output_key": (
        "the name of one output, or its position",
        lambda v: v is None or (v == 0 and v is not False) or _is_count(v) or (_is_text(v) and v != "*"),
    ),
    "arguments": ("a table of plain values", lambda v: isinstance(v, Mapping) and all(map(_is_plain, v.values()))),
    "preprocessor": ("hub:HANDLE", lambda v: v is None or (_is_text(v) and v.startswith("hub:"))),
    "network": ("keras:CLASS", lambda v: v is None or (_is_source(v) and v.startswith("keras:"))),
}


def read(path: str | Path) -> list[Card]:
    """Reads one card file: a table `[[variant]]` for each card; keys above the variants hold for all of them.

    `extends = "NAME"` takes over the keys of another card that are not given. Paths are relative to the file.
    Raises a TlkerasError that names the file, the variant and the key.
    """
    own = card_files.entries(Path(path))
    known = {entry.values["name"]: entry for entry in own}
    if any("extends" in entry.values for entry in own):
        known = {**_entries(), **known}
    return [_checked(entry, known) for entry in own]


def cards(*files: str | Path) -> dict[str, Card]:
    """Returns all cards by name, sorted: those of tlkeras, of the user's zoo, of imported bundles, and of more files.

    Raises a TlkerasError that names the file of a card that is not right, and both files of a name given twice.
    """
    known = _entries(*files)
    return {name: _checked(entry, known) for name, entry in known.items()}


def card(name: str, *files: str | Path) -> Card:
    """Returns the card of that name among `cards(*files)`; for an unknown one the TlkerasError lists the nearest."""
    known = cards(*files)
    if name not in known:
        raise unknown_name("backbone", name, known)
    return known[name]


def _entries(*files: str | Path) -> dict[str, card_files.Entry]:
    return card_files.by_name(entry for path in card_files.search_path(*files) for entry in card_files.entries(path))


def _checked(entry: card_files.Entry, known: Mapping[str, card_files.Entry]) -> Card:
    values = card_files.extended(entry, known)
    try:
        return Card.from_dict(values)
    except TlkerasError as error:
        raise TlkerasError(f"{entry.path}: {error}") from None
