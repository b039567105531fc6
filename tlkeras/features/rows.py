"""Rows of a store in the order that somebody asked for: in memory where they fit, else read when they are taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from tlkeras.errors import TlkerasError
from tlkeras.features.shards import Kinds, Shard, row_sizes

# The number of a shard and the row in it make one number, so that rows side by side in a file differ by one.
PLACES = 1 << 32
# What is read at once where the rows do not go where they are wanted in one piece.
_PIECE = 4 << 20


class Rows:
    """Rows of a store, for as long as the store is open.

    Attributes:
        is_in_memory: Whether all rows are in memory.
        bytes: What all rows take.
        arrays: One array `(rows, *shape)` for each tensor, in the stored type; None unless in memory.
    """

    def __init__(self, shards: Sequence[Shard], places: np.ndarray, kinds: Kinds, memory: int):
        """Reads all rows if they take no more than `memory` bytes."""
        self._shards = list(shards)
        self._places = places
        self._kinds = kinds
        self.bytes = len(places) * sum(row_sizes(kinds))
        self.is_in_memory = self.bytes <= memory
        self.arrays = self._read(np.arange(len(places))) if self.is_in_memory else None

    def __len__(self) -> int:
        return len(self._places)

    def take(self, positions: np.ndarray) -> list[np.ndarray]:
        """Returns copies of the rows at `positions`, in their order: one array for each tensor, in the stored type.

        What is not in memory is read from the files in the order in which it lies there.

        Raises:
            TlkerasError: The files are no longer what they were.
        """
        positions = np.asarray(positions, np.int64)
        return self._read(positions) if self.arrays is None else [array[positions] for array in self.arrays]

    def blocks(self, size: int) -> list[np.ndarray]:
        """Returns all positions in blocks of `size`, the last of which may be smaller; a block lies together on disk.

        The blocks are the same whether the rows are in memory or not.
        """
        order = np.argsort(self._places, kind="stable")
        return [order[start : start + size] for start in range(0, len(order), size)]

    def _read(self, positions: np.ndarray) -> list[np.ndarray]:
        taken = [np.empty((len(positions), *shape), dtype) for shape, dtype in self._kinds]
        places = self._places[positions]
        order = np.argsort(places, kind="stable")
        places = places[order]
        for start, end in _pieces(places // PLACES):
            shard = self._shards[places[start] // PLACES]
            try:
                with shard.path.open("rb", buffering=0) as file:
                    for number, size in enumerate(row_sizes(self._kinds)):
                        rows = places[start:end] % PLACES
                        _fill(file, shard.starts[number], size, rows, taken[number], order[start:end])
            except (FileNotFoundError, EOFError):
                where = shard.path.parent
                raise TlkerasError(
                    f"the features kept in {where} changed while they were in use; run it again"
                ) from None
        return taken


def _fill(file, start: int, size: int, rows: np.ndarray, target: np.ndarray, positions: np.ndarray) -> None:
    """Reads the rows, which ascend, of one tensor that begins at `start` to the positions in `target`."""
    for first, end in _pieces(rows - np.arange(len(rows))):
        file.seek(start + int(rows[first]) * size)
        wanted = positions[first:end]
        if np.all(np.diff(wanted) == 1):
            _read_into(file, target[wanted[0] : wanted[-1] + 1])
            continue
        step = max(1, _PIECE // max(1, size))
        for part in (wanted[begin : begin + step] for begin in range(0, len(wanted), step)):
            piece = np.empty((len(part), *target.shape[1:]), target.dtype)
            _read_into(file, piece)
            target[part] = piece


def _pieces(key: np.ndarray) -> Iterator[tuple[int, int]]:
    """Gives the first and the end of each run over which the key does not change."""
    if len(key):
        changes = (np.flatnonzero(key[1:] != key[:-1]) + 1).tolist()
        yield from zip([0, *changes], [*changes, len(key)], strict=True)


def _read_into(file, array: np.ndarray) -> None:
    data = memoryview(array.reshape(-1).view("u1"))
    while data:
        count = file.readinto(data)
        if not count:
            raise EOFError
        data = data[count:]
