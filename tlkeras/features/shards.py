"""A shard: one file with some rows of a store. It is whole, or it is not used.

It begins with a magic word, the length and CRC-32 of a header, and the header, which is JSON: the names of the rows,
the kinds of the tensors, and the CRC-32 of all that follows. The tensors follow one after the other, each with all its
rows, in the byte order of the machine.
"""

from __future__ import annotations

import json
import math
import os
import struct
import sys
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tlkeras.files import is_leftover, written_aside

if TYPE_CHECKING:
    import numpy as np

SUFFIX = ".rows"
FORMAT = 1
_PREFIX = struct.Struct("<8sQI")
_MAGIC = b"tlkrows1"
_PIECE = 1 << 22

# For each tensor at a frontier the shape of one row and the type that it is stored in.
Kinds = Sequence[tuple[tuple[int, ...], str]]


@dataclass(frozen=True)
class Shard:
    """What the header of a shard says."""

    path: Path
    names: list[str]
    starts: list[int]
    """Where each tensor begins in the file."""
    crc: int


def plain(kinds: Kinds) -> list:
    """Gives kinds as JSON has them."""
    return [[[int(length) for length in shape], str(dtype)] for shape, dtype in kinds]


def row_sizes(kinds: Kinds) -> list[int]:
    """Returns how many bytes a row of each tensor takes."""
    import numpy as np

    return [math.prod(shape) * np.dtype(dtype).itemsize for shape, dtype in kinds]


def write(path: Path, names: Sequence[str], parts: Sequence[Sequence[np.ndarray]], kinds: Kinds) -> Shard:
    """Writes a shard under its final name: whole, or not at all.

    Args:
        path: The file to be.
        names: The names of the rows.
        parts: For each tensor the arrays, in the stored type and in C order, that hold its rows one after the other.
        kinds: Shapes and types of the tensors.
    """
    crc = 0
    for part in parts:
        for array in part:
            crc = zlib.crc32(_bytes_of(array), crc)
    header = {"kinds": plain(kinds), "byteorder": sys.byteorder, "crc": crc, "names": list(names)}
    text = json.dumps(header, separators=(",", ":")).encode()
    with written_aside(path) as aside, aside.open("wb", buffering=0) as file:
        _write_all(file, _PREFIX.pack(_MAGIC, len(text), zlib.crc32(text)) + text)
        for part in parts:
            for array in part:
                _write_all(file, _bytes_of(array))
    return Shard(path, list(names), _starts(_PREFIX.size + len(text), len(names), kinds)[:-1], crc)


def _bytes_of(array: np.ndarray) -> memoryview:
    return memoryview(array.reshape(-1).view("u1"))


def _write_all(file, data) -> None:
    data = memoryview(data)
    while data:
        data = data[file.write(data) :]


def paths_in(folder: Path) -> list[Path]:
    """Lists the shards in a folder, in the order in which they were written."""
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if not is_leftover(path))


def names_in(path: Path) -> list[str]:
    """Returns the names of the rows in a shard, without a look at the rows; none if it is damaged."""
    try:
        return _header(path)[0]["names"]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def read(path: Path, kinds: Kinds) -> Shard | None:
    """Reads the header of a shard; None if it is damaged, too short or of other kinds.

    Raises:
        OSError: It cannot be read.
    """
    try:
        header, start = _header(path)
        names, crc = header["names"], header["crc"]
        starts = _starts(start, len(names), kinds)
        is_right = header["kinds"] == plain(kinds) and header["byteorder"] == sys.byteorder
    except (ValueError, KeyError, TypeError):
        return None
    if not is_right or path.stat().st_size != starts[-1]:
        return None
    return Shard(path, names, starts[:-1], crc)


def _header(path: Path) -> tuple[dict, int]:
    with path.open("rb") as file:
        prefix = file.read(_PREFIX.size)
        if len(prefix) != _PREFIX.size:
            raise ValueError("too short")
        magic, length, crc = _PREFIX.unpack(prefix)
        if magic != _MAGIC or length > os.fstat(file.fileno()).st_size:
            raise ValueError("not a shard")
        text = file.read(length)
    if zlib.crc32(text) != crc:
        raise ValueError("damaged")
    return json.loads(text), _PREFIX.size + length


def _starts(start: int, rows: int, kinds: Kinds) -> list[int]:
    starts = [start]
    for size in row_sizes(kinds):
        starts.append(starts[-1] + rows * size)
    return starts


def is_sound(shard: Shard) -> bool:
    """Says whether the rows of a shard are those that were written, by reading them all once."""
    crc, piece = 0, bytearray(_PIECE)
    with shard.path.open("rb", buffering=0) as file:
        file.seek(min(shard.starts, default=0))
        while read := file.readinto(piece):
            crc = zlib.crc32(memoryview(piece)[:read], crc)
    return crc == shard.crc
