"""Tensors out of a PyTorch file, without PyTorch and without running anything that the file asks for.

A file is a zip, not compressed, of the pickled object (`data.pkl`) and the raw values of each storage (`data/KEY`). A
legacy one is five pickles (a magic number, the protocol, facts about the machine, the object, the keys of its storages)
and then, for each key, a count of elements and their raw values. Only what rebuilds tensors is let through.
"""

from __future__ import annotations

import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
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
    # NumPy has no such type: two bytes of any kind.
    "BFloat16Storage": "V2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "<i1",
    "ByteStorage": "<u1",
    "BoolStorage": "?",
}
# Whatever a broken pickle or zip makes its reader stumble over.
_BROKEN = (
    pickle.UnpicklingError,
    AttributeError,
    EOFError,
    IndexError,
    KeyError,
    MemoryError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
)

_OPCODES = {ord(op.code): pickle._Unpickler.dispatch[ord(op.code)] for op in pickletools.opcodes if op.proto <= 2}


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


class _TensorUnpickler(pickle._Unpickler):
    # The unpickler in C makes as much room as a number in the file says, and so do opcodes of later protocols than that
    # of torch; this one takes what is there.
    dispatch = _OPCODES

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
        if kind != "storage" or dtype not in _STORAGES.values() or not isinstance(key, str):
            raise TlkerasError("it refers to something else than storages of tensors")
        return _Storage(key, np.dtype(dtype))


def read_pth(path: str | Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.pth` file that holds a state dict, zipped or legacy.

    Returns:
        Arrays by name in the order of the file, not to be written to, each in the shape and type that it was saved in;
        float16 and bfloat16 become float32.

    Raises:
        TlkerasError: the file is no such file, is damaged, or asks for anything but tensors (which is not run).
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            read = _read_zip if file.read(2) == b"PK" else _read_legacy
            file.seek(0)
            return read(file, path.stat().st_size)
    except TlkerasError as error:
        raise TlkerasError(f"weights {path} refused: {error}") from None
    except OSError as error:
        raise TlkerasError(f"weights {path} cannot be read: {error.strerror or error}") from None
    except _BROKEN as error:
        # What the error says may be anything that the file holds, at any length.
        raise TlkerasError(f"weights {path} are damaged or no .pth file ({type(error).__name__})") from None


def _read_zip(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    with zipfile.ZipFile(file) as archive:
        members = {member.filename.partition("/")[2]: member for member in archive.infolist()}
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise TlkerasError("it is compressed, as torch never writes it")
        # Several members may lie about being at one place.
        if sum(member.file_size for member in members.values()) > size:
            raise TlkerasError("its members claim more bytes than it has")
        if "data.pkl" not in members:
            raise TlkerasError("it is a zip without data.pkl: torch.save(model.state_dict(), FILE) writes one")
        if "byteorder" in members and archive.read(members["byteorder"]) != b"little":
            raise TlkerasError("its bytes are not in the order 'little'")
        with archive.open(members["data.pkl"]) as pickled:
            state = _tensors(_TensorUnpickler(pickled).load())
        used = dict.fromkeys(tensor.storage for tensor in state.values())
        storages = {storage: _values(archive.read(members[f"data/{storage.key}"]), storage.dtype) for storage in used}
    return {name: _view(tensor, storages[tensor.storage]) for name, tensor in state.items()}


def _read_legacy(file: BinaryIO, size: int) -> dict[str, np.ndarray]:
    if (_TensorUnpickler(file).load(), _TensorUnpickler(file).load()) != (_MAGIC, _PROTOCOL):
        raise TlkerasError("it does not begin like a .pth file")
    _TensorUnpickler(file).load()
    state = _tensors(_TensorUnpickler(file).load())
    keys = _TensorUnpickler(file).load()
    dtypes = {tensor.storage.key: tensor.storage.dtype for tensor in state.values()}
    storages = {_Storage(key, dtypes[key]): _values(_run_of(file, dtypes[key], size), dtypes[key]) for key in keys}
    return {name: _view(tensor, storages[tensor.storage]) for name, tensor in state.items()}


def _tensors(state: object) -> Mapping[str, _Tensor]:
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise TlkerasError("it holds something else than tensors by name")
    if strange := [name for name, value in state.items() if not isinstance(value, _Tensor)]:
        raise TlkerasError(
            f"it holds something else than tensors by name: {', '.join(map(repr, strange))}. Save model.state_dict()"
        )
    return state


def _run_of(file: BinaryIO, dtype: np.dtype, size: int) -> bytes:
    (count,) = struct.unpack("<q", file.read(8))
    if not 0 <= count * dtype.itemsize <= size - file.tell():
        raise TlkerasError("it ends before its tensors do")
    return file.read(count * dtype.itemsize)


def _values(content: bytes, dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "V":
        # bfloat16 is the upper half of float32.
        return (np.frombuffer(content, "<u2").astype("<u4") << 16).view("<f4")
    values = np.frombuffer(content, dtype)
    return values.astype("<f4") if dtype.itemsize == 2 and dtype.kind == "f" else values


def _view(tensor: _Tensor, values: np.ndarray) -> np.ndarray:
    """Gives a tensor as a part of its storage, no copy: many may share one."""
    last, overlaps = tensor.offset, False
    for step, count in sorted(zip(tensor.strides, tensor.shape, strict=True)):
        # In the order of the strides, each leads beyond all that the smaller ones reach.
        overlaps |= count > 1 and step <= last - tensor.offset
        last += (count - 1) * step
    legal = min((tensor.offset, *tensor.shape, *tensor.strides)) >= 0
    if not legal or (0 not in tensor.shape and (overlaps or last >= len(values))):
        raise TlkerasError("a tensor reaches beyond its storage, or uses a part of it twice")
    steps = [step * values.itemsize for step in tensor.strides]
    return np.lib.stride_tricks.as_strided(values[tensor.offset :], tensor.shape, steps, writeable=False)
