"""Archives of unknown origin: unpacked whole or not at all, and nothing but plain files and folders out of them."""

from __future__ import annotations

import gzip
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import BinaryIO, NamedTuple

from tlkeras.errors import TlkerasError, os_reason
from tlkeras.files import folder_aside

# What may come out of one archive. Weights hardly shrink when they are packed; below the harmless size any ratio is
# let through, as a module that was never trained may be all zeros.
_MOST_MEMBERS = 20_000
_MOST_BYTES = 2**35
_MOST_RATIO = 100
_HARMLESS_BYTES = 2**24
# The most that is read at once: tarfile reads a header as long as the header itself claims to be.
_CHUNK = 2**20
_MOST_NAME = 1000

# Whatever the readers of tar and zip stumble over in a damaged file.
_BROKEN = (
    tarfile.TarError,
    zipfile.BadZipFile,
    gzip.BadGzipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    OverflowError,
    RuntimeError,
    ValueError,
)


class _Member(NamedTuple):
    name: str
    kind: str
    open: Callable[[], BinaryIO]


def extract(
    archive: Path,
    folder: Path,
    *,
    limits: Mapping[str, int] | None = None,
    check: Callable[[Path], None] | None = None,
) -> None:
    """Unpacks a .tar, .tar.gz or .zip file, told by its content, into a folder that does not exist yet or is empty.

    Only plain files and folders come out, with plain permissions. Refused are names that are absolute or lead out of
    the folder, links, devices, names given twice, and archives that unpack to absurdly many or large files.

    Args:
        archive: The file.
        folder: Where its content is to stand.
        limits: The most bytes of certain members, by their names.
        check: Called with the folder of what came out before that stands in its place; refuses it by a TlkerasError.

    Raises:
        TlkerasError: The archive is refused or damaged, or the folder cannot be written; nothing is left of it then.
    """
    archive, folder = Path(archive), Path(folder)
    if not archive.is_file():
        raise TlkerasError(f"there is no archive {archive}")
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise TlkerasError(f"archive {archive} cannot be unpacked to {folder}: it exists already")
    try:
        with folder_aside(folder) as aside:
            _unpack(archive, aside, limits or {})
            if check:
                check(aside)
    except TlkerasError as error:
        raise TlkerasError(f"archive {archive} refused: {error}") from None
    except _BROKEN as error:
        raise TlkerasError(f"archive {archive} is damaged, or no .tar, .tar.gz or .zip: {error}") from None
    except OSError as error:
        raise TlkerasError(f"archive {archive} cannot be unpacked to {folder}: {os_reason(error)}") from None


def read_member(archive: Path, name: str) -> bytes:
    """Reads one member of a zip; a TlkerasError refuses one that unpacks to absurdly many bytes."""
    with zipfile.ZipFile(archive) as opened:
        if opened.getinfo(name).file_size > (most := _most_bytes(archive)):
            raise TlkerasError(f"archive {archive} refused: {_too_large(name, most)}")
        return opened.read(name)


def _unpack(archive: Path, folder: Path, limits: Mapping[str, int]) -> None:
    seen: set[tuple[str, ...]] = set()
    left = most = _most_bytes(archive)
    for count, member in enumerate(_members(archive), start=1):
        if count > _MOST_MEMBERS:
            raise TlkerasError(f"it has more than {_MOST_MEMBERS:,} members")
        parts = _safe_parts(member)
        if parts in seen:
            raise _refused(member.name, "is there twice")
        seen.add(parts)
        limit = limits.get("/".join(parts), most)
        try:
            size = _write(member, folder.joinpath(*parts), min(left, limit))
        except _BROKEN as error:
            raise _refused(member.name, f"is damaged: {error}") from None
        except (FileExistsError, NotADirectoryError):
            raise _refused(member.name, "needs a folder where another is a file, or the reverse") from None
        except OSError as error:
            raise _refused(member.name, f"cannot be written: {error.strerror or error}") from None
        if size is None:
            raise _too_large(member.name, limit)
        left -= size


def _write(member: _Member, path: Path, most: int) -> int | None:
    """Writes a member and gives its size; None is more than `most`. What the header claims may be a lie."""
    if member.kind == "folder":
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with member.open() as source, path.open("xb") as target:
        while chunk := source.read(_CHUNK):
            size += len(chunk)
            if size > most:
                return None
            target.write(chunk)
    return size


def _most_bytes(archive: Path) -> int:
    return min(_MOST_BYTES, max(_HARMLESS_BYTES, _MOST_RATIO * archive.stat().st_size))


def _safe_parts(member: _Member) -> tuple[str, ...]:
    """Splits the name of a member that may be written; a TlkerasError says why another may not."""
    name = member.name
    if len(name) > _MOST_NAME:
        raise _refused(name[:40] + "…", f"has a name of more than {_MOST_NAME} characters")
    if re.match(r"[/\\]|[A-Za-z]:", name):
        raise _refused(name, "has an absolute name")
    if "\\" in name or "\0" in name:
        raise _refused(name, "has a backslash or a zero byte in its name")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise _refused(name, "leads out of the folder")
    if member.kind not in ("file", "folder"):
        raise _refused(name, f"is a {member.kind}, and only plain files and folders are let in")
    if not parts and member.kind == "file":
        raise _refused(name, "has no name")
    return parts


def _refused(name: str, why: str) -> TlkerasError:
    return TlkerasError(f"member {name!r} {why}")


def _too_large(name: str, most: int) -> TlkerasError:
    return _refused(name, f"unpacks to absurdly many bytes: {most:,} at most are let out")


def _members(archive: Path) -> Iterator[_Member]:
    with archive.open("rb") as file:
        magic = file.read(4)
    if magic[:2] == b"PK":
        yield from _zip_members(archive)
        return
    with gzip.open(archive) if magic[:2] == b"\x1f\x8b" else archive.open("rb") as file:
        yield from _tar_members(_Forward(file, _most_bytes(archive)))


def _zip_members(archive: Path) -> Iterator[_Member]:
    with zipfile.ZipFile(archive) as opened:
        for item in opened.infolist():
            # The decompressors of other methods give as much at once as they like.
            if item.flag_bits & 1 or item.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise _refused(item.filename, "is encrypted or packed otherwise than by deflation")
            yield _Member(item.orig_filename, _zip_kind(item), lambda item=item: opened.open(item))


def _zip_kind(item: zipfile.ZipInfo) -> str:
    mode = item.external_attr >> 16
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return "device"
    return "folder" if item.is_dir() else "file"


def _tar_members(file: _Forward) -> Iterator[_Member]:
    with tarfile.open(fileobj=file, mode="r:") as opened:
        for item in opened:
            yield _Member(item.name, _tar_kind(item), lambda item=item: opened.extractfile(item))
    if file.last != bytes(tarfile.BLOCKSIZE):
        raise EOFError("it ends before its end mark")
    # To the end, where gzip has its checksum.
    while file.read(_CHUNK):
        pass


def _tar_kind(item: tarfile.TarInfo) -> str:
    if item.islnk() or item.issym():
        return "link"
    if item.issparse():
        return "sparse file"
    if item.isdir():
        return "folder"
    if item.isdev():
        return "device"
    return "file" if item.type in tarfile.REGULAR_TYPES else "thing of unknown kind"


class _Forward:
    """A file that is read once from front to end, in portions, and not beyond a size: all that tarfile needs of it."""

    def __init__(self, file: BinaryIO, most: int):
        self._file, self._most, self._position = file, most, 0
        self.last = b""

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise ValueError("a header leads backwards")
        while self._position < position and self.read(min(_CHUNK, position - self._position)):
            pass

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _CHUNK:
            raise ValueError(f"a header claims {size:,} bytes")
        self.last = self._file.read(size)
        self._position += len(self.last)
        if self._position > self._most:
            raise TlkerasError(f"it unpacks to absurdly many bytes: {self._most:,} at most are let out")
        return self.last
