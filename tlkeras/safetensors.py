"""Reads `.safetensors`, a header of JSON and then plain numbers, without the package of that name. No TensorFlow."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable

import numpy as np

from tlkeras.errors import TlkerasError

_MAX_HEADER = 2**24
_DTYPES = {"F16": np.dtype("<f2"), "F32": np.dtype("<f4"), "F64": np.dtype("<f8")}


def tensors(content: bytes, names: Iterable[str]) -> dict[str, np.ndarray]:
    """Takes tensors out of the bytes of a file, as float32.

    The header is not trusted: sizes must agree with shapes, and no tensor may reach beyond the file.

    Args:
        content: 8 bytes with the length of the header (little endian), the header, the numbers; see
            https://github.com/huggingface/safetensors.
        names: Which tensors to take.

    Raises:
        TlkerasError: The file is damaged, or lacks tensors: all that are missing are named.
    """
    length = int.from_bytes(content[:8], "little")
    if len(content) < 8 or length > min(_MAX_HEADER, len(content) - 8):
        raise TlkerasError("is damaged or no .safetensors file: its header does not fit in it")
    try:
        header = json.loads(content[8 : 8 + length])
    except (ValueError, RecursionError) as error:
        raise TlkerasError(f"is damaged or no .safetensors file: its header is no JSON ({error})") from None
    names = list(names)
    if missing := [name for name in names if not isinstance(header, dict) or name not in header]:
        raise TlkerasError(f"lacks the tensors {', '.join(missing[:5])}{', …' if len(missing) > 5 else ''}")
    numbers = memoryview(content)[8 + length :]
    return {name: _tensor(name, header[name], numbers) for name in names}


def _tensor(name: str, about, numbers: memoryview) -> np.ndarray:
    try:
        dtype, shape, (begin, end) = _DTYPES[about["dtype"]], tuple(about["shape"]), about["data_offsets"]
        sound = all(type(number) is int and number >= 0 for number in (*shape, begin, end))
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound or not begin <= end <= len(numbers) or end - begin != math.prod(shape) * dtype.itemsize:
        raise TlkerasError(f"is damaged: the entry of the tensor {name!r} is not sound (legal: {', '.join(_DTYPES)})")
    return np.frombuffer(numbers[begin:end], dtype).reshape(shape).astype(np.float32)
