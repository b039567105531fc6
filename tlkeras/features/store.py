"""The store of what frozen parts computed: a row for each name, kept on disk, so that nothing is computed twice."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from tlkeras.features import folders, shards
from tlkeras.features.rows import PLACES, Rows
from tlkeras.files import atomic_write, held, locked, remove_leftovers

__all__ = ["Rows", "Store"]

# Bytes of rows in a shard, and the seconds in which they are gathered: what a killed extraction computes again at most.
_SHARD, _SECONDS = 32 * 2**20, 10


class Store:
    """Rows of activations of one frozen part, one for each name, kept in shards in a folder of the cache.

    Several processes may add to a store at once; what the others add is seen when it is opened again. While it is open
    it is not removed, by whatever process.

    Attributes:
        folder: Where it is. Other files that belong to the same frozen part may lie there as well.
    """

    @classmethod
    def open(cls, about: Mapping, kinds: shards.Kinds) -> Store:
        """Opens the store of what `about` describes; makes it if it is not there.

        Args:
            about: All that decides what the rows are, such that JSON can have it.
            kinds: For each tensor at the frontier the shape of a row, without the batch, and the type it is stored in.

        Raises:
            TlkerasError: `$TLKERAS_CACHE_LIMIT` is no size.
        """
        return cls(about, kinds)

    def __init__(self, about: Mapping, kinds: shards.Kinds):
        self._kinds = [(tuple(shape), str(dtype)) for shape, dtype in kinds]
        self._limit = folders.limit()
        text = json.dumps(dict(about), sort_keys=True, indent=1, allow_nan=False)
        identity = json.dumps(
            [shards.FORMAT, json.loads(text), shards.plain(kinds)], sort_keys=True, separators=(",", ":")
        )
        self.folder = folders.root() / hashlib.sha256(identity.encode()).hexdigest()[:24]
        self._held = contextlib.ExitStack()
        self._hold()
        if _text_of(self.folder / folders.ABOUT) != text:
            atomic_write(self.folder / folders.ABOUT, text)
        self._waiting_names: list[str] = []
        self._waiting: list[list[np.ndarray]] = []
        self._written = time.monotonic()
        self._sound: set[Path] = set()
        self._unreadable: set[Path] = set()
        self._look()

    def _hold(self) -> None:
        lock = self.folder / folders.LOCK
        while True:
            self.folder.mkdir(parents=True, exist_ok=True)
            # Another process may remove the folder until it is held.
            with contextlib.suppress(FileNotFoundError):
                lock.touch()
                with locked(lock) as is_alone:
                    if is_alone:
                        remove_leftovers(self.folder)
                self._held.enter_context(held(lock))
                os.utime(lock)
                return

    def _look(self) -> None:
        """Reads the headers of all shards; the names in them make the index."""
        self._shards: list[shards.Shard] = []
        self._index: dict[str, int] = {}
        for path in shards.paths_in(self.folder):
            if path in self._unreadable:
                continue
            try:
                if shard := shards.read(path, self._kinds):
                    self._admit(shard)
                else:
                    path.unlink(missing_ok=True)
            except OSError:
                self._unreadable.add(path)

    def _admit(self, shard: shards.Shard) -> None:
        first = len(self._shards) * PLACES
        self._index.update(zip(shard.names, range(first, first + len(shard.names)), strict=True))
        # The names are in the index.
        self._shards.append(shards.Shard(shard.path, [], shard.starts, shard.crc))

    def missing(self, names: Sequence[str]) -> list[int]:
        """Returns the positions of names that have no row; a name given twice is missing once, where it stands first.

        Shards that hold one of the names are read and compared with their checksum, once while the store is open; one
        that is damaged is removed, and its rows are missing.
        """
        self._check(names)
        waiting, found = set(self._waiting_names), {}
        for position, name in enumerate(names):
            if name not in self._index and name not in waiting:
                found.setdefault(name, position)
        return list(found.values())

    def _check(self, names: Sequence[str]) -> None:
        needed = {self._index[name] // PLACES for name in names if name in self._index}
        changed = False
        for shard in (self._shards[number] for number in sorted(needed)):
            if shard.path in self._sound:
                continue
            try:
                if shards.is_sound(shard):
                    self._sound.add(shard.path)
                    continue
                shard.path.unlink(missing_ok=True)
            except OSError:
                self._unreadable.add(shard.path)
            changed = True
        if changed:
            self._look()
            # A row that was also in another shard is there still.
            self._check(names)

    def add(self, names: Sequence[str], arrays: Sequence[np.ndarray]) -> None:
        """Adds rows; they are written as soon as there are some 32 MB, or the last were written ten seconds ago.

        Args:
            names: One name a row.
            arrays: For each tensor its rows `(len(names), *shape)`. What float16 cannot hold becomes its largest.

        Raises:
            ValueError: The arrays do not have the right shapes.
            OSError: They cannot be written; the store holds what it held before.
        """
        wanted = [(len(names), *shape) for shape, _ in self._kinds]
        if [np.shape(array) for array in arrays] != wanted:
            raise ValueError(f"arrays need the shapes {wanted}. Received: {[np.shape(array) for array in arrays]}")
        row = sum(shards.row_sizes(self._kinds))
        step = max(1, _SHARD // max(1, row))
        for start in range(0, len(names), step):
            part = slice(start, start + step)
            self._waiting_names += names[part]
            self._waiting.append(
                [_stored(array[part], dtype) for array, (_, dtype) in zip(arrays, self._kinds, strict=True)]
            )
            if len(self._waiting_names) * row >= _SHARD or time.monotonic() - self._written >= _SECONDS:
                self.flush()

    def flush(self) -> None:
        """Writes the rows that were added; then removes other stores if all of them take too much.

        Raises:
            OSError: They cannot be written; they stay in memory.
        """
        if self._waiting_names:
            # By time, so that the order in the files is that of the extraction, whoever reads them.
            path = self.folder / f"{time.time_ns():016x}-{uuid.uuid4().hex[:12]}{shards.SUFFIX}"
            parts = list(zip(*self._waiting, strict=True))
            shard = shards.write(path, self._waiting_names, parts, self._kinds)
            self._waiting_names, self._waiting, self._written = [], [], time.monotonic()
            self._sound.add(path)
            self._admit(shard)
        folders.keep_within(self._limit)

    def rows(self, names: Sequence[str], memory: int) -> Rows:
        """Gives the rows of names, in their order; for as long as the store is open.

        Args:
            names: Names that all have a row; the same one may come twice.
            memory: How many bytes they may take to be read into memory.

        Raises:
            KeyError: Some of them have none.
        """
        if self._waiting_names:
            self.flush()
        if missing := self.missing(names):
            raise KeyError(f"{len(missing)} of {len(names)} have no row, such as {names[missing[0]]}")
        places = np.fromiter((self._index[name] for name in names), np.int64, len(names))
        return Rows(self._shards, places, self._kinds, memory)

    def close(self) -> None:
        """Writes what was added and lets go of the folder, which goes as well where nothing is in it."""
        try:
            self.flush()
        finally:
            self._held.close()
            if not shards.paths_in(self.folder) and (empty := folders.look(self.folder)):
                folders.remove(empty)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, kind, error, trace) -> None:
        # What was computed before a failure is worth keeping, and what failed first is worth telling.
        with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
            self.close()


def _stored(array: np.ndarray, dtype: str) -> np.ndarray:
    """Copies an array in the stored type."""
    array, target = np.asarray(array), np.dtype(dtype)
    if target == np.float16 and array.dtype != np.float16:
        # Types that NumPy does not know, such as bfloat16, cannot all be clipped.
        array = array if array.dtype.kind == "f" else array.astype(np.float32)
        most = np.finfo(np.float16).max
        array = np.clip(array, -most, most)
    return np.array(array, target, order="C")


def _text_of(path: Path) -> str | None:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return None
