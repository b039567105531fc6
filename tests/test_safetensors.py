import json

import numpy as np
import pytest
from helpers import safetensors_of

from tlkeras.errors import TlkerasError
from tlkeras.safetensors import tensors


def with_header(header, numbers: bytes = bytes(64)) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + numbers


def entry(**changes) -> bytes:
    return with_header({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24], **changes}})


def test_tensors_are_taken_by_name():
    found = tensors(safetensors_of({"a": (2, 3), "b": (4,), "c": ()}), ["c", "a"])
    assert {name: array.shape for name, array in found.items()} == {"c": (), "a": (2, 3)}
    assert found["a"].dtype == np.float32 and found["a"].std() > 0


def test_half_precision_becomes_single():
    assert tensors(entry(dtype="F16", data_offsets=[0, 12]), ["a"])["a"].dtype == np.float32


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not fit"),
        (b"\xff" * 8, "does not fit"),
        ((2**40).to_bytes(8, "little") + b"{}", "does not fit"),
        (with_header(b"{no json"), "is no JSON"),
        (with_header(b"[" * 100_000), "is no JSON"),
        (with_header([1]), "lacks the tensors a"),
        (with_header({}), "lacks the tensors a"),
        (with_header({"a": 3}), "'a' is not sound"),
        (entry(dtype="OBJECT"), "'a' is not sound"),
        (entry(shape=[2, 4]), "'a' is not sound"),
        (entry(shape=[-2, -3]), "'a' is not sound"),
        (entry(shape=[2**40, 2**40]), "'a' is not sound"),
        (entry(shape=[2.0, 3]), "'a' is not sound"),
        (entry(data_offsets=[50, 74]), "'a' is not sound"),
        (entry(data_offsets=[-24, 0]), "'a' is not sound"),
        (entry(data_offsets=[24]), "'a' is not sound"),
    ],
)
def test_what_is_damaged_is_named(content, message):
    with pytest.raises(TlkerasError, match=message):
        tensors(content, ["a"])
