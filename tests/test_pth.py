import io
import pickle
import struct
import tracemalloc
import zipfile
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
    def __init__(self, key, kind):
        self.key, self.kind = key, kind


class TorchPickler(pickle._Pickler):
    """Writes what torch would: its globals by name, its storages by reference."""

    def persistent_id(self, obj):
        return ("storage", Global("torch", obj.kind), obj.key, "cpu", 6, None) if isinstance(obj, Storage) else None

    def save(self, obj, save_persistent_id=True):
        if isinstance(obj, Global):
            self.write(f"c{obj.module}\n{obj.name}\n".encode())
        elif isinstance(obj, Call):
            self.save(obj.function)
            self.save(obj.args)
            self.write(b"R")
        else:
            super().save(obj, save_persistent_id)


def tensor(shape, strides, offset=0, key="1", kind="FloatStorage"):
    rebuild = Global("torch._utils", "_rebuild_tensor_v2")
    return Call(rebuild, Storage(key, kind), offset, shape, strides, False, Call(Global("collections", "OrderedDict")))


def write(path, state, values=range(6), keys=("1",)):
    with path.open("wb") as file:
        for part in (MAGIC, PROTOCOL, {"little_endian": True}, state, list(keys)):
            TorchPickler(file, 2).dump(part)
        for _ in keys:
            file.write(struct.pack("<q", len(values)) + np.asarray(values, "<f4").tobytes())
    return path


def write_zip(path, state, storages=None, packed=zipfile.ZIP_STORED, **members):
    """As torch.save writes it today."""
    pickled = io.BytesIO()
    TorchPickler(pickled, 2).dump(state)
    storages = {"1": np.arange(6, dtype="<f4").tobytes()} if storages is None else storages
    members = {"data.pkl": pickled.getvalue(), "byteorder": b"little", "version": b"3\n"} | members
    with zipfile.ZipFile(path, "w", packed) as archive:
        for name, content in (members | {f"data/{key}": content for key, content in storages.items()}).items():
            archive.writestr(f"m/{name}", content)
    return path


@pytest.mark.parametrize("write", [write, write_zip])
def test_tensors_with_strides_and_offsets(tmp_path, write):
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


@pytest.mark.parametrize("write", [write, write_zip])
@pytest.mark.parametrize(
    "bad",
    [
        *(tensor((7,), (1,)), tensor((2,), (1,), -1), tensor((2,), (-1,), 3), tensor((2, 2), (1,)), tensor((2,), (9,))),
        *(tensor((32768, 40000), (0, 0)), tensor((3, 3), (1, 1)), tensor((2, 4), (2, 1)), tensor((2, 3), (0, 1))),
    ],
)
def test_tensor_beyond_its_storage_or_larger(tmp_path, bad, write):
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


def test_half_precision_becomes_single(tmp_path):
    numbers = np.array([1.5, -2.25, 0.0], "<f4")
    storages = {"1": numbers.astype("<f2").tobytes(), "2": (numbers.view("<u4") >> 16).astype("<u2").tobytes()}
    state = {"a": tensor((3,), (1,), kind="HalfStorage"), "b": tensor((3,), (1,), key="2", kind="BFloat16Storage")}
    for values in read_pth(write_zip(tmp_path / "m.pth", state, storages)).values():
        assert values.dtype == np.float32
        np.testing.assert_array_equal(values, numbers)


def test_file_of_torch_itself(tmp_path):
    torch = pytest.importorskip("torch", reason="needs torch")
    state = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)).state_dict()
    state |= {"turned": state["0.weight"].permute(3, 1, 0, 2), "half": torch.arange(3).bfloat16()}
    for zipped in (True, False):
        torch.save(state, tmp_path / "m.pth", _use_new_zipfile_serialization=zipped)
        found = read_pth(tmp_path / "m.pth")
        assert list(found) == list(state)
        for name, values in state.items():
            np.testing.assert_array_equal(found[name], values.float().numpy())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"packed": zipfile.ZIP_DEFLATED}, "it is compressed"),
        ({"byteorder": b"big"}, "not in the order 'little'"),
        ({"storages": {}}, "damaged or no .pth file"),
        ({"storages": {"1": b"12345"}}, "damaged or no .pth file"),
        ({"storages": {"1": b"1234" * 5}}, "beyond its storage"),
        ({"data.pkl": b""}, "damaged or no .pth file"),
    ],
)
def test_zipped_file_that_is_refused(tmp_path, changes, message):
    with pytest.raises(TlkerasError, match=message):
        read_pth(write_zip(tmp_path / "m.pth", {"a": tensor((6,), (1,))}, **changes))


def test_zip_that_is_none(tmp_path):
    (tmp_path / "m.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(TlkerasError, match="damaged"):
        read_pth(tmp_path / "m.pth")
    with zipfile.ZipFile(tmp_path / "m.pth", "w") as archive:
        archive.writestr("m/model.json", "{}")
    with pytest.raises(TlkerasError, match=r"a zip without data\.pkl"):
        read_pth(tmp_path / "m.pth")


def test_zip_that_claims_more_than_it_has(tmp_path):
    path = write_zip(tmp_path / "m.pth", {"a": tensor((6,), (1,))})
    # Sizes in the directory at the end: of the last member, as packed and as it was.
    content = path.read_bytes()
    place = content.rindex(b"PK\x01\x02") + 20
    path.write_bytes(content[:place] + struct.pack("<LL", 2**31, 2**31) + content[place + 8 :])
    with pytest.raises(TlkerasError, match="claim more bytes than it has"):
        read_pth(path)


@pytest.mark.parametrize("pickled", [b"\x80\x02]r\xff\xff\xff\x0f.", b"\x80\x05\x96\0\0\0\0\1\0\0\0x."])
def test_room_is_made_for_what_is_there(tmp_path, pickled):
    """A number that the memo shall keep an object under, and the length of a bytearray."""
    path = write_zip(tmp_path / "m.pth", {}, **{"data.pkl": pickled})
    tracemalloc.start()
    with pytest.raises(TlkerasError, match=r"m\.pth"):
        read_pth(path)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 2**20


def test_missing_file(tmp_path):
    with pytest.raises(TlkerasError, match="No such file"):
        read_pth(tmp_path / "m.pth")
