"""Bundles: cards with all their weights in one tar, for a machine that has no network.

A bundle holds `manifest.json` (cards, and size and SHA-256 of every file), `weights/NAME/FILE` and `modules/HASH/…`.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tlkeras import __version__, checksums, modules, weights
from tlkeras.errors import TlkerasError
from tlkeras.files import written_aside
from tlkeras.zoo import Card

if TYPE_CHECKING:
    from rich.console import Console

FORMAT = 1
MANIFEST = "manifest.json"


def write(path: Path, cards: Iterable[Card], locate: Callable[[str], Path], console: Console) -> int:
    """Writes a bundle, whole or not at all, fetching what is not there yet.

    The same cards and weights give the same bytes.

    Args:
        path: The tar to write.
        cards: What is to be in it.
        locate: Finds the folder of the module of a `hub:` handle.
        console: Where progress is shown.

    Returns:
        The size of the bundle in bytes.

    Raises:
        TlkerasError: Weights cannot be had, or the bundle cannot be written.
    """
    packed: list[dict] = []
    files: dict[str, Path] = {}
    for card in cards:
        values = card.to_dict()
        if card.scheme != "hub":
            source = weights.fetch(card, console)
            files[f"weights/{card.name}/{source.name}"] = source
            if card.scheme == "file":
                values |= {"source": f"file:{card.name}/{source.name}", "sha256": checksums.digest(source)}
        for key in ("source", "preprocessor"):
            if (values[key] or "").startswith("hub:"):
                values[key], module = _packed_module(values[key].removeprefix("hub:"), locate)
                files |= module
        packed.append(values)
    listed = {name: {"size": p.stat().st_size, "sha256": checksums.digest(p)} for name, p in sorted(files.items())}
    manifest = {"format": FORMAT, "tlkeras": __version__, "cards": packed, "files": listed}
    try:
        with written_aside(path) as aside:
            with tarfile.open(aside, "w", format=tarfile.PAX_FORMAT) as archive:
                content = json.dumps(manifest, indent=1).encode()
                _add(archive, MANIFEST, io.BytesIO(content), len(content))
                for name, source in sorted(files.items()):
                    with source.open("rb") as file:
                        _add(archive, name, file, listed[name]["size"])
            return aside.stat().st_size
    except OSError as error:
        raise TlkerasError(f"the bundle {path} cannot be written ({error.strerror}); name another file") from None


def _packed_module(handle: str, locate: Callable[[str], Path]) -> tuple[str, dict[str, Path]]:
    """Gives the source of a module as its card in the bundle says it, and the module's files by their names there."""
    folder, place = locate(handle), f"modules/{modules.folder_of(handle).name}"
    files = {f"{place}/{name}": folder / name for name in checksums.of_folder(folder)}
    return f"hub:{handle if '://' in handle else f'../{place}'}", files


def _add(archive: tarfile.TarFile, name: str, file, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    archive.addfile(member, file)
