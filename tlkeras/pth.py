"""Tensors out of a legacy PyTorch file, without PyTorch and without running anything that the file asks for.

Such a file is five pickles (a magic number, the protocol, facts about the machine, the object, the keys of its
storages) and then, for each key, a count of elements and their raw values. Only what rebuilds tensors is let through.
"""

from __future__ import annotations

import pickle
import struct
from collections import OrderedDict
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from tlkeras.errors import TlkerasError

_MAGIC = 0x1950A86A20F9469CFC6C
_PROTOCOL = 1001
_STORAGES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# Whatever a broken pickle makes the unpickler stumble over.
_BROKEN = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)


class _Storage(NamedTuple):
    key: str
    dtype: np.dtype


class _Tensor(NamedTuple):
    """A tensor that is known but not read yet: its values stand behind the pickles."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _rebuild_tensor(storage, offset, shape, strides, *_) -> _Tensor:
    return _Tensor(storage, offset, shape, strides)


class _TensorUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str):
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuild_tensor
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise TlkerasError(f"it asks for {module}.{name}, and only tensors are let in")

    def persistent_load(self, identity) -> _Storage:
        kind, dtype, key, *_ = identity
        if kind != "storage" or dtype not in _STORAGES.values():
            raise TlkerasError(f"it refers to {kind!r}, and only storages of tensors are let in")
        return _Storage(str(key), np.dtype(dtype))


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a legacy (not zipped) `.pth` file that holds a state dict.

    Returns:
        Arrays by name in the order of the file, each in the shape and type that it was saved with.

    Raises:
        TlkerasError: the file is no such file, is damaged, or asks for anything but tensors (which is not run).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if file.read(2) == b"PK":
                raise TlkerasError(
                    "it is a zipped .pth; save it with torch.save(…, _use_new_zipfile_serialization=False)"
                )
            file.seek(0)
            return _read(file, path.stat().st_size)
    except OSError as error:
        raise TlkerasError(f"weights {path} cannot be read: {error.strerror or error}") from None
    except TlkerasError as error:
        raise TlkerasError(f"weights {path} refused: {error}") from None
    except _BROKEN as error:
        raise TlkerasError(f"weights {path} are damaged or no legacy .pth file ({error})") from None


def _read(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    if (_TensorUnpickler(file).load(), _TensorUnpickler(file).load()) != (_MAGIC, _PROTOCOL):
        raise TlkerasError("it does not begin like a legacy .pth file")
    _TensorUnpickler(file).load()
    state = _TensorUnpickler(file).load()
    if not isinstance(state, dict) or not all(isinstance(value, _Tensor) for value in state.values()):
        raise TlkerasError("it holds something else than tensors by name")
    keys = _TensorUnpickler(file).load()
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in state.values()}
    storages = {str(key): _read_storage(file, dtypes[str(key)], size) for key in keys}
    return {str(name): _view(tensor, storages[tensor.storage.key]) for name, tensor in state.items()}


def _read_storage(file: BinaryIO, dtype: np.dtype, size: int) -> np.ndarray:
    (count,) = struct.unpack("<q", file.read(8))
    if not 0 <= count * dtype.itemsize <= size - file.tell():
        raise TlkerasError("it ends before its tensors do")
    return np.frombuffer(file.read(count * dtype.itemsize), dtype)


def _view(tensor: _Tensor, values: np.ndarray) -> np.ndarray:
    last = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    legal = min((tensor.offset, *tensor.shape, *tensor.strides)) >= 0
    if not legal or (0 not in tensor.shape and last >= len(values)):
        raise TlkerasError("a tensor reaches beyond its storage")
    steps = [step * values.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps, writeable=False).copy()
