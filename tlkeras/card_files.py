"""Card files: where they lie, and what stands in them as plain values, with what a card extends filled in."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

from tlkeras.errors import TlkerasError, unknown_name
from tlkeras.places import bundled_zoo, user_zoo

_MOST_BYTES = 2**20
# What says something of certain weights, and is not taken over where `source` names others.
_OF_THE_WEIGHTS = ("sha256", "url", "md5", "file", "top1", "size_mb", "reference")
_WITH_PATHS = ("source", "preprocessor")


class Entry(NamedTuple):
    """The values of one card, not checked yet, and the file they stand in."""

    values: dict[str, Any]
    path: Path


def search_path(*files: str | os.PathLike) -> list[Path]:
    """Lists all card files: of tlkeras, of the user's zoo, of bundles, and those named; empty names are passed over."""
    folders = [Path(str(resources.files("tlkeras_zoo"))), user_zoo(), bundled_zoo()]
    # A folder that is not there yet has no cards in it: `tlkeras zoo add` makes it.
    if folders[1].exists() and not folders[1].is_dir():
        raise TlkerasError(f"$TLKERAS_ZOO names a folder of card files, and {folders[1]} is a file")
    found = [path for folder in folders for path in sorted(folder.glob("*.toml"))]
    found += [Path(file).expanduser() for file in files if file]
    return list({path.resolve(): path for path in found}.values())


def entries(path: Path) -> list[Entry]:
    """Reads one card file: a table `[[variant]]` for each card; keys above the variants hold for all of them.

    Paths in `source` become absolute; in the file they are relative to it.
    """
    try:
        if path.exists() and not path.is_file():
            raise OSError("it is no file")
        if path.stat().st_size > _MOST_BYTES:
            raise OSError(f"it is larger than {_MOST_BYTES >> 20} MiB")
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TlkerasError(f"{path}: cannot be read as a card file: {reason}") from None
    shared = {key: value for key, value in content.items() if key != "variant"}
    variants = content.get("variant")
    if not isinstance(variants, list) or not variants or not all(isinstance(v, dict) for v in variants):
        raise TlkerasError(f"{path}: a card file needs one [[variant]] or more")
    found = [Entry(_with_absolute_paths({**shared, **variant}, path), path) for variant in variants]
    for entry in found:
        if not isinstance(entry.values.get("name"), str):
            raise TlkerasError(f"{path}: card without a name: the key 'name' is missing, or no text")
    return found


def by_name(found: Iterable[Entry]) -> dict[str, Entry]:
    """Sorts entries by name; one given twice is an error that cites both files."""
    named: dict[str, Entry] = {}
    for entry in found:
        name = entry.values["name"]
        if name in named:
            places = dict.fromkeys((named[name].path, entry.path))
            raise TlkerasError(f"two cards are named {name!r}: in {' and in '.join(map(str, places))}")
        named[name] = entry
    return {name: named[name] for name in sorted(named)}


def extended(entry: Entry, known: Mapping[str, Entry]) -> dict[str, Any]:
    """Gives the values of an entry over those of the card that it `extends`, and that one's in turn; own keys win.

    Where `source` is its own, what the other card says of its weights (hashes, address, accuracy) is not taken over;
    a file of weights is one of the other's `network`.
    """
    chain, values = [entry.values["name"]], dict(entry.values)
    while (other := values.pop("extends", None)) is not None:
        where = f"{entry.path}: card {entry.values['name']!r}, key 'extends'"
        if other in chain:
            raise TlkerasError(f"{where}: a card cannot extend itself: {' -> '.join([*chain, other])}")
        if not isinstance(other, str) or other not in known:
            raise TlkerasError(f"{where}: {unknown_name('card', other, known)}")
        left_out = ("name", *_OF_THE_WEIGHTS) if "source" in values else ("name",)
        theirs = known[other].values
        if _is_of(values, "file") and _is_of(theirs, "keras"):
            theirs = {**theirs, "network": theirs["source"]}
        values = {key: value for key, value in theirs.items() if key not in left_out} | values
        chain.append(other)
    return values


def _is_of(values: Mapping[str, Any], scheme: str) -> bool:
    return str(values.get("source", "")).startswith(f"{scheme}:")


def movable_text(path: Path, sums: Mapping[str, str]) -> str:
    """Gives the text of a card file that means the same in another folder: its own, unless something is changed in it.

    Relative paths become absolute, and `sums`, the SHA-256 of weights by the names of cards, are added.
    """
    text, found = path.read_text(encoding="utf-8"), entries(path)
    if not sums and all(entry.values.get(key, "") in text for entry in found for key in _WITH_PATHS):
        return text
    added = {name: {"sha256": sha256} for name, sha256 in sums.items()}
    return "\n".join(to_toml(entry.values | added.get(entry.values["name"], {})) for entry in found)


def to_toml(values: Mapping[str, Any]) -> str:
    """Writes the values of one card as a card file."""
    return "[[variant]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in values.items() if value is not None)


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_toml(key)} = {_toml(item)}' for key, item in value.items())} }}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _with_absolute_paths(values: dict[str, Any], path: Path) -> dict[str, Any]:
    changed = dict(values)
    for key in _WITH_PATHS:
        scheme, colon, rest = value.partition(":") if isinstance(value := values.get(key), str) else ("", "", "")
        if scheme in ("file", "hub") and rest.strip() and "://" not in rest:
            changed[key] = f"{scheme}{colon}{(path.parent / Path(rest).expanduser()).resolve()}"
    return changed
