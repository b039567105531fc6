import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from tlkeras.errors import TlkerasError
from tlkeras.pth import read_pth

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


class Global:
    """Pickled as the name of something in a module that need not be here."""

    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    def __init__(self, function, *args):
        self.function, self.args = function, args


class Storage:
    def __init__(self, key):
        self.key = key


class TorchPickler(pickle._Pickler):
    """Writes what torch would: its globals by name, its storages by reference."""

    def persistent_id(self, obj):
        return (
            ("storage", Global("torch", "FloatStorage"), obj.key, "cpu", 6, None) if isinstance(obj, Storage) else None
        )

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def tensor(shape, strides, offset=0, key="1"):
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, Storage(key), offset, shape, strides, False, Call(Global("collections", "OrderedDict")))


def write(path, state, values=range(6), keys=("1",)):
    with path.open("wb") as file:
        for part in (MAGIC, PROTOCOL, {"little_endian": True}, state, list(keys)):
            TorchPickler(file, 2).dump(part)
        for _ in keys:
            file.write(struct.pack("<q", len(values)) + np.asarray(values, "<f4").tobytes())
    return path


def test_tensors_with_strides_and_offsets(tmp_path):
    state = OrderedDict(a=tensor((2, 3), (3, 1)), b=tensor((3, 2), (1, 3)), c=tensor((2,), (2,), 1), d=tensor((), ()))
    tensors = read_pth(write(tmp_path / "m.pth", state))
    assert list(tensors) == ["a", "b", "c", "d"]
    np.testing.assert_array_equal(tensors["a"], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(tensors["b"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(tensors["c"], [1, 3])
    assert tensors["d"].shape == () and tensors["d"].dtype == np.float32


@pytest.mark.parametrize(
    ("module", "name"), [("builtins", "open"), ("torch", "load"), ("os", "system"), ("numpy", "save")]
)
def test_call_is_refused_before_it_runs(tmp_path, module, name):
    made = tmp_path / "made"
    args = (f"touch {made}",) if name == "system" else (str(made), "w")
    path = write(tmp_path / "m.pth", {"a": Call(Global(module, name), *args)})
    with pytest.raises(TlkerasError, match=rf"m\.pth refused: it asks for \w+\.{name}"):
        read_pth(path)
    assert not made.exists()


@pytest.mark.parametrize("part", range(5))
def test_call_is_refused_in_every_part(tmp_path, part):
    parts = [MAGIC, PROTOCOL, {}, {}, []]
    parts[part] = Call(Global("builtins", "open"), str(tmp_path / "made"), "w")
    with (tmp_path / "m.pth").open("wb") as file:
        for value in parts:
            TorchPickler(file, 2).dump(value)
    with pytest.raises(TlkerasError, match="refused"):
        read_pth(tmp_path / "m.pth")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "bad",
    [tensor((7,), (1,)), tensor((2,), (1,), -1), tensor((2,), (-1,), 3), tensor((2, 2), (1,)), tensor((2,), (9,))],
)
def test_tensor_beyond_its_storage(tmp_path, bad):
    with pytest.raises(TlkerasError, match=r"m\.pth"):
        read_pth(write(tmp_path / "m.pth", {"a": bad}))


@pytest.mark.parametrize("state", [{"a": 5}, [1], {"a": tensor((2,), (1,), key="2")}])
def test_something_else_than_tensors(tmp_path, state):
    with pytest.raises(TlkerasError, match=r"m\.pth"):
        read_pth(write(tmp_path / "m.pth", state))


def test_file_cut_short_anywhere(tmp_path):
    whole = write(tmp_path / "m.pth", {"a": tensor((6,), (1,))}).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(TlkerasError, match=r"cut\.pth"):
            read_pth(tmp_path / "cut.pth")


def test_zipped_file_says_what_to_do(tmp_path):
    (tmp_path / "m.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(TlkerasError, match="_use_new_zipfile_serialization=False"):
        read_pth(tmp_path / "m.pth")


def test_missing_file(tmp_path):
    with pytest.raises(TlkerasError, match="No such file"):
        read_pth(tmp_path / "m.pth")
