import json
import re
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from tlkeras import zoo
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


def test_unknown_name():
    with pytest.raises(TlkerasError, match=r"Did you mean 'efficientnet_lite\d'.*Legal: .*resnet50"):
        zoo.card("efficientnet_lite")


def test_own_folder(own_zoo):
    (own_zoo / "mine.toml").write_text(CARD)
    assert zoo.card("my_net").stages == ("a.*", "b.*")
    assert zoo.card("my_net").scheme == "keras"


def test_own_folder_that_is_none(monkeypatch):
    monkeypatch.setenv("TLKERAS_ZOO", "/does/not/exist")
    with pytest.raises(TlkerasError, match=r"TLKERAS_ZOO.*'/does/not/exist'"):
        zoo.cards()


def test_name_given_twice_cites_both_files(own_zoo):
    for name in ("one.toml", "two.toml"):
        (own_zoo / name).write_text(CARD)
    with pytest.raises(TlkerasError, match=r"'my_net': in .*one\.toml and in .*two\.toml"):
        zoo.cards()


@pytest.mark.parametrize(
    ("line", "wrong", "cited"),
    [
        ('source = "keras:ResNet101"', 'source = "ftp:x"', "'source'"),
        ('source = "keras:ResNet101"', "", "'source' is missing"),
        ("input_size = 64", "input_size = 0", "'input_size'"),
        ("input_size = 64", "input_sise = 64", "Did you mean 'input_size'"),
        ("input_size = 64", "input_size = 64\ntop1 = 75.1", "'top1'"),
        ("input_size = 64", 'input_size = 64\nsha256 = "abc"', "'sha256'"),
        ('preprocess = "tf"', 'preprocess = "tff"', "'preprocess'"),
        ('preprocess = "tf"', "preprocess = { mean = [1, 2], std = 1 }", "'preprocess'"),
        ('stages = ["a.*", "b.*"]', 'stages = ["a(", "b"]', "'stages'"),
        ('stages = ["a.*", "b.*"]', 'stages = "a.*"', "'stages'"),
        ('license = "MIT"', "license = 5", "'license'"),
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
