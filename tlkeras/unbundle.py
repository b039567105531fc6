"""Bundles read again: nothing of one is put in place before all of it was checked, as it may come from anybody."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from tlkeras import card_files, checksums, modules, weights, zoo
from tlkeras.archives import extract
from tlkeras.bundles import FORMAT, MANIFEST
from tlkeras.errors import TlkerasError, os_reason
from tlkeras.files import UNFINISHED, atomic_write, folder_aside, written_aside
from tlkeras.places import bundled_zoo, cache_folder
from tlkeras.zoo import Card

_MOST_MANIFEST = 2**24
_LOCAL_MODULE = r"\.\./modules/[0-9a-f]{16}"
# Where two cards of one name may differ and still mean the same backbone.
_REMARKS = ("source", "preprocessor", "url", "top1", "size_mb", "reference", "license")


class _Placing(NamedTuple):
    """A file or folder out of the bundle, and where it goes. `replaces`: what is there may be put aside for it."""

    source: Path
    target: Path
    replaces: bool


def load(path: Path, *files: str | Path) -> list[str]:
    """Imports a bundle: weights and modules to where they are looked for, unknown cards to the cache.

    Args:
        path: The bundle; it is trusted in nothing but that its modules may be run.
        *files: Card files beside those that are always read.

    Returns:
        The names of its cards.

    Raises:
        TlkerasError: The bundle is damaged, its manifest lies, or it does not fit the cards or files that are here.
    """
    known = zoo.cards(*files)
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix=UNFINISHED) as work:
        folder = Path(work) / "bundle"
        extract(path, folder, limits={MANIFEST: _MOST_MANIFEST})
        try:
            cards, names = _read(folder)
            for card in cards:
                _check_known(card, known)
            placings = [placing for card in cards for placing in _placings(card, known.get(card.name), folder)]
            placings = list(dict.fromkeys(placings))
            _check_placings(placings, names, folder)
        except TlkerasError as error:
            raise TlkerasError(f"bundle {path} refused: {error}") from None
        for placing in placings:
            _place(placing)
        for card in cards:
            if card.name not in known:
                atomic_write(bundled_zoo() / f"{card.name}.toml", card_files.to_toml(card.to_dict()))
    return [card.name for card in cards]


def _read(folder: Path) -> tuple[list[Card], set[str]]:
    """Reads the manifest, and compares the files with it."""
    file = folder / MANIFEST
    if not file.is_file():
        raise TlkerasError(f"it has no {MANIFEST}: it was not made by `tlkeras zoo bundle`")
    try:
        manifest = json.loads(file.read_bytes())
        if manifest["format"] != FORMAT:
            raise TlkerasError(f"its format is {manifest['format']!r}, and this tlkeras reads {FORMAT}")
        listed = {name: (facts["size"], facts["sha256"]) for name, facts in manifest["files"].items()}
        cards = [Card.from_dict(dict(values)) for values in manifest["cards"]]
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError):
        raise TlkerasError(f"its {MANIFEST} is damaged: it is none that `tlkeras zoo bundle` writes") from None
    if not cards:
        raise TlkerasError("it has no cards")
    if len({card.name for card in cards}) != len(cards):
        raise TlkerasError("it has two cards of one name")
    found = {name: ((folder / name).stat().st_size, sha) for name, sha in checksums.of_folder(folder).items()}
    del found[MANIFEST]
    for name in sorted({*found, *listed}):
        if found.get(name) != listed.get(name):
            raise TlkerasError(f"{name!r} is not what its {MANIFEST} says")
    return cards, set(found)


def _check_known(card: Card, known: Mapping[str, Card]) -> None:
    if card.name not in known:
        return
    theirs, ours = card.to_dict(), known[card.name].to_dict()
    # A bundle gives a SHA-256 to a file of weights whose card has none.
    remarks = (*_REMARKS, *(["sha256"] if ours["sha256"] is None else []))
    differing = [key for key in ours if key not in remarks and theirs[key] != ours[key]]
    if card.scheme != known[card.name].scheme:
        differing.append("source")
    if differing:
        raise TlkerasError(
            f"its card {card.name!r} is another than the one here: they differ in {', '.join(differing)}"
        )


def _placings(card: Card, mine: Card | None, folder: Path) -> Iterator[_Placing]:
    for source in (card.source, card.preprocessor or ""):
        if source.startswith("hub:"):
            handle = source.removeprefix("hub:")
            if "://" not in handle and not re.fullmatch(_LOCAL_MODULE, handle):
                raise TlkerasError(f"its card {card.name!r} names a module outside of it: {handle!r}")
            target = modules.folder_of(handle)
            if "://" not in handle:
                target = target.with_name(handle.rpartition("/")[2])
            yield _Placing(folder / "modules" / target.name, target, replaces=False)
    if card.scheme == "hub":
        return
    inside = list((folder / "weights" / card.name).glob("*"))
    if len(inside) != 1:
        raise TlkerasError(f"it has {len(inside)} files of weights of {card.name!r}, and one is needed")
    (file,) = inside
    if card.scheme == "file" and card.source != f"file:{card.name}/{file.name}":
        raise TlkerasError(f"its card {card.name!r} names a file outside of it: {card.source!r}")
    target = weights.cached_path(mine or card)
    if card.scheme == "file" and not mine:
        target = bundled_zoo() / card.name / file.name
    if wrong := checksums.difference(file, (mine or card).sha256, (mine or card).md5):
        raise TlkerasError(f"the weights in it are not those on the card of {card.name!r}: {wrong}")
    yield _Placing(file, target, replaces=mine is not None and mine.scheme != "file" and bool(mine.sha256 or mine.md5))


def _check_placings(placings: list[_Placing], names: set[str], folder: Path) -> None:
    """Sees to it that every file has a use, and that nothing of the user's is written over."""
    if len({placing.target for placing in placings}) < len(placings):
        raise TlkerasError("it has several files that belong to one place")
    for placing in placings:
        if not placing.source.exists():
            raise TlkerasError(f"it lacks {placing.source.relative_to(folder).as_posix()!r}")
        if placing.target.exists() and not placing.replaces and not _is_there(placing):
            raise TlkerasError(f"{placing.target} is there already and is another; move it away to import this one")
    used = [placing.source.relative_to(folder).as_posix() for placing in placings]
    for name in sorted(names):
        if not any(name == place or name.startswith(f"{place}/") for place in used):
            raise TlkerasError(f"no card in it has a use for {name!r}")


def _is_there(placing: _Placing) -> bool:
    source, target = placing.source, placing.target
    if source.is_dir():
        return target.is_dir() and not checksums.folder_difference(target, checksums.of_folder(source))
    return target.is_file() and checksums.digest(source) == checksums.digest(target)


def _place(placing: _Placing) -> None:
    source, target = placing.source, placing.target
    if _is_there(placing):
        return
    try:
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            with written_aside(target) as aside:
                shutil.copyfile(source, aside)
        else:
            checksums.record(target, checksums.of_folder(source))
            with folder_aside(target) as aside:
                source.replace(aside)
    except OSError as error:
        # Another process may have imported the same.
        if not _is_there(placing):
            raise TlkerasError(f"{target} cannot be written: {os_reason(error)}") from None
