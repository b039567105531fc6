"""Is a file, or a folder, still what it was?"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from tlkeras.files import atomic_write

# Of the file of checksums that lies beside a folder.
SUFFIX = ".sha256.json"


def digest(path: Path, algorithm: str = "sha256") -> str:
    """Gives the hash of a file's content in hexadecimal digits; `algorithm` as in hashlib."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def difference(path: Path, sha256: str | None = None, md5: str | None = None) -> str:
    """Says how the hash of a file differs from the one given; empty where it does not, or none is given."""
    for algorithm, name, expected in (("sha256", "SHA-256", sha256), ("md5", "MD5", md5)):
        if expected:
            received = digest(path, algorithm)
            return "" if received == expected else f"its {name} is {received}, not {expected}"
    return ""


def of_folder(folder: Path) -> dict[str, str]:
    """Gives the SHA-256 of every file in a folder, by its path from there with `/` between the parts."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): digest(path) for path in files}


def folder_difference(folder: Path, expected: Mapping[str, str]) -> str:
    """Says which files of a folder are not as expected; empty where all are."""
    received = of_folder(folder)
    wrong = [name for name in sorted({*received, *expected}) if received.get(name) != expected.get(name)]
    return f"changed, missing or new: {', '.join(wrong[:5])}{' …' if len(wrong) > 5 else ''}" if wrong else ""


def record(folder: Path, sums: Mapping[str, str]) -> None:
    """Writes down, beside a folder, what `of_folder` is to give of it."""
    atomic_write(record_of(folder), json.dumps(sums, indent=1))


def recorded(folder: Path) -> dict[str, str] | None:
    """Reads what was written down of a folder; None where nothing was, or nothing that can be read."""
    try:
        sums = json.loads(record_of(folder).read_bytes())
    except (OSError, ValueError):
        return None
    return sums if isinstance(sums, dict) else None


def record_of(folder: Path) -> Path:
    """Returns the file in which that is written down."""
    return folder.with_name(f"{folder.name}{SUFFIX}")
