import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError, replace
from pathlib import Path

import pytest

from tlkeras import card_files, zoo
from tlkeras.errors import TlkerasError

CARD = """
family = "mine"
license = "MIT"
stages = ["a.*", "b.*"]
features = 8
preprocess = "tf"
[[variant]]
name = "my_net"
source = "keras:ResNet101"
input_size = 64
parameters = 10
"""


@pytest.fixture
def own_zoo(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_ZOO", str(tmp_path))
    return tmp_path


def test_cards_are_sorted_and_frozen():
    cards = zoo.cards()
    assert list(cards) == sorted(cards)
    with pytest.raises(FrozenInstanceError):
        cards["resnet50"].name = "other"


@pytest.mark.parametrize("card", zoo.cards().values(), ids=lambda card: card.name)
def test_card_survives_json(card):
    assert zoo.Card.from_dict(json.loads(json.dumps(card.to_dict()))) == card


def test_every_card_file_is_read():
    bundled = Path(zoo.__file__).parents[1] / "zoo"
    assert {card.name for path in bundled.glob("*.toml") for card in zoo.read(path)} == set(zoo.cards())


def test_weights_from_wheels_have_a_checksum():
    assert all(card.sha256 for card in zoo.cards().values() if card.scheme == "pypi")


@pytest.mark.parametrize("name", ["../a", "a/b", "..", ".a", "a b", "-a", "", "a" * 101])
def test_a_name_is_no_path(tmp_path, name):
    (tmp_path / "mine.toml").write_text(CARD.replace("my_net", name))
    with pytest.raises(TlkerasError, match="'name'"):
        zoo.read(tmp_path / "mine.toml")


def test_unknown_name():
    with pytest.raises(TlkerasError, match=r"Did you mean 'efficientnet_lite\d'.*Legal: .*resnet50"):
        zoo.card("efficientnet_lite")


def test_own_folder(own_zoo):
    (own_zoo / "mine.toml").write_text(CARD)
    assert zoo.card("my_net").stages == ("a.*", "b.*")
    assert zoo.card("my_net").scheme == "keras"


def test_own_folder_that_is_none(monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLKERAS_ZOO", str(tmp_path / "file"))
    with pytest.raises(TlkerasError, match=r"TLKERAS_ZOO.*/file is a file"):
        zoo.cards()


def test_own_folder_that_is_not_there_yet(monkeypatch, tmp_path):
    known = zoo.cards()
    monkeypatch.setenv("TLKERAS_ZOO", str(tmp_path / "later"))
    assert zoo.cards() == known and not (tmp_path / "later").exists()


def test_name_given_twice_cites_both_files(own_zoo):
    for name in ("one.toml", "two.toml"):
        (own_zoo / name).write_text(CARD)
    with pytest.raises(TlkerasError, match=r"'my_net': in .*one\.toml and in .*two\.toml"):
        zoo.cards()


def test_files_beside_the_zoo(own_zoo, tmp_path_factory):
    path = tmp_path_factory.mktemp("elsewhere") / "mine.toml"
    path.write_text(CARD)
    assert "my_net" not in zoo.cards("")
    assert zoo.card("my_net", path).features == 8
    (own_zoo / "mine.toml").write_text(CARD)
    assert zoo.card("my_net", own_zoo / "mine.toml").features == 8
    with pytest.raises(TlkerasError, match="two cards are named 'my_net'"):
        zoo.cards(path)


def test_paths_are_relative_to_the_card(own_zoo):
    (own_zoo / "mine.toml").write_text(CARD.replace("keras:ResNet101", "file:sub/../my.h5"))
    assert zoo.card("my_net").source == f"file:{own_zoo}/my.h5"
    text = CARD.replace("keras:ResNet101", "hub:./m") + 'preprocessor = "hub:./p"\n'
    (own_zoo / "mine.toml").write_text(text)
    assert (zoo.card("my_net").source, zoo.card("my_net").preprocessor) == (f"hub:{own_zoo}/m", f"hub:{own_zoo}/p")


def extending(other, lines=""):
    return f'[[variant]]\nname = "mine"\nextends = "{other}"\n{lines}\n'


def test_extends_takes_over_what_is_not_given(own_zoo):
    (own_zoo / "mine.toml").write_text(extending("efficientnet_lite0", "input_size = 96"))
    theirs = zoo.card("efficientnet_lite0")
    assert zoo.card("mine") == replace(theirs, name="mine", input_size=96)


def test_extends_over_files_and_cards(own_zoo):
    (own_zoo / "a.toml").write_text(extending("my_net", "input_size = 96"))
    (own_zoo / "b.toml").write_text(f'extends = "resnet50"\n{CARD.replace("features = 8", "")}')
    card = zoo.card("mine")
    assert (card.source, card.input_size, card.features, card.family) == ("keras:ResNet101", 96, 2048, "mine")


def test_other_weights_do_not_inherit_a_checksum(own_zoo):
    (own_zoo / "mine.toml").write_text(extending("efficientnet_lite0", 'source = "file:mine.weights.h5"'))
    assert zoo.card("mine").sha256 is None and zoo.card("mine").top1 is None


def test_other_weights_are_those_of_the_same_network(own_zoo):
    (own_zoo / "mine.toml").write_text(extending("resnet50", 'source = "file:mine.weights.h5"'))
    theirs = extending("mine", 'source = "file:theirs.weights.h5"').replace('name = "mine"', 'name = "theirs"')
    (own_zoo / "theirs.toml").write_text(theirs)
    for name in ("mine", "theirs"):
        assert zoo.card(name).network == "keras:ResNet50" and zoo.card(name).application == "ResNet50"
        assert zoo.card(name).source == f"file:{own_zoo}/{name}.weights.h5" and zoo.card(name).url is None
    assert zoo.card("resnet50").network is None and not zoo.card("efficientnet_lite0").application


def test_network_is_for_files(own_zoo):
    (own_zoo / "mine.toml").write_text(extending("resnet50", 'network = "keras:ResNet50"'))
    with pytest.raises(TlkerasError, match="'network': only for file: cards"):
        zoo.cards()


def test_extending_what_is_not_there(own_zoo):
    (own_zoo / "mine.toml").write_text(extending("resnet51"))
    with pytest.raises(TlkerasError, match=r"mine\.toml: card 'mine', key 'extends': .*Did you mean 'resnet50'"):
        zoo.cards()


def test_extending_in_a_circle(own_zoo):
    (own_zoo / "a.toml").write_text(extending("other"))
    (own_zoo / "b.toml").write_text(extending("mine").replace('name = "mine"', 'name = "other"'))
    with pytest.raises(TlkerasError, match=r"a\.toml: .*: mine -> other -> mine"):
        zoo.cards()


@pytest.mark.parametrize("content", [b"x" * (2**20 + 1), b"\xff", b"a = " + b"[" * 100_000])
def test_files_that_are_no_card_files(tmp_path, content):
    (tmp_path / "mine.toml").write_bytes(content)
    with pytest.raises(TlkerasError, match=r"mine\.toml: cannot be read as a card file"):
        zoo.read(tmp_path / "mine.toml")


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/does/not/exist"])
def test_what_is_no_file(path):
    with pytest.raises(TlkerasError, match=f"{path}: cannot be read as a card file"):
        zoo.cards(path)


def test_a_card_written_again_is_the_same(own_zoo):
    card = replace(zoo.card("hub_vit_s16"), name="mine", output_key=0, arguments={"a b": [1, True, "ü\n"]})
    (own_zoo / "mine.toml").write_text(card_files.to_toml(card.to_dict()))
    assert zoo.card("mine") == card


@pytest.mark.parametrize(
    ("line", "wrong", "cited"),
    [
        ('source = "keras:ResNet101"', 'source = "ftp:x"', "'source'"),
        ('source = "keras:ResNet101"', "", "the key 'source' is missing"),
        ('source = "keras:ResNet101"\ninput_size = 64', "", "the keys 'source', 'input_size' are missing"),
        ("input_size = 64", 'input_size = 64\noutput_key = "*"', "'output_key'"),
        ("input_size = 64", "input_size = 64\noutput_key = -1", "'output_key'"),
        ("input_size = 64", "input_size = 64\noutput_key = false", "'output_key'"),
        ("input_size = 64", 'input_size = 64\ntask = "text"', "'preprocess': must be none for texts"),
        ("input_size = 64", "input_size = 0", "'input_size'"),
        ("input_size = 64", "input_sise = 64", "Did you mean 'input_size'"),
        ("input_size = 64", "input_size = 64\ntop1 = 75.1", "'top1'"),
        ("input_size = 64", 'input_size = 64\nsha256 = "abc"', "'sha256'"),
        ('preprocess = "tf"', 'preprocess = "tff"', "'preprocess'"),
        ('preprocess = "tf"', "preprocess = { mean = [1, 2], std = 1 }", "'preprocess'"),
        ('stages = ["a.*", "b.*"]', 'stages = ["a(", "b"]', "'stages'"),
        ('stages = ["a.*", "b.*"]', 'stages = "a.*"', "'stages'"),
        ('license = "MIT"', "license = 5", "'license'"),
        ('stages = ["a.*", "b.*"]', 'stages = ["(a+)+b"]', "'stages'"),
        ('stages = ["a.*", "b.*"]', f'stages = ["{"a" * 5001}"]', "'stages'"),
        ("input_size = 64", "input_size = 100000", "'input_size'"),
        ("input_size = 64", 'input_size = 64\nurl = "http://a.example/b.h5"', "'url'"),
        ("input_size = 64", 'input_size = 64\nurl = "https://a.example/.."', "'url'"),
        ("input_size = 64", "input_size = 64\narguments = { a = 1979-05-27 }", "'arguments'"),
        ("input_size = 64", 'input_size = 64\nfile = "../a"', "'file'"),
        ("input_size = 64", 'input_size = 64\nbuilder = "os.system"', "key"),
        ('source = "keras:ResNet101"', 'source = "keras:os.system"', "'source'"),
        ('source = "keras:ResNet101"', 'source = "pypi:--pre==1"', "'source'"),
    ],
)
def test_mistakes_cite_file_variant_and_key(tmp_path, line, wrong, cited):
    path = tmp_path / "mine.toml"
    path.write_text(CARD.replace(line, wrong))
    with pytest.raises(TlkerasError, match=rf"mine\.toml: card 'my_net'.*{re.escape(cited)}"):
        zoo.read(path)


@pytest.mark.parametrize("text", ["", "not toml", "variant = 5", "[variant]\nname = 'a'"])
def test_file_without_cards(tmp_path, text):
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(TlkerasError, match=r"mine\.toml"):
        zoo.read(tmp_path / "mine.toml")


def test_no_tensorflow_is_loaded():
    code = "import sys, tlkeras.weights, tlkeras.pth as _; print({'tensorflow', 'keras'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"
