"""The real weights. The golden numbers are those of the original PyTorch network for the same picture."""

import json
from pathlib import Path

import numpy as np
import pytest

from tlkeras import zoo
from tlkeras.backbones import load
from tlkeras.backbones.efficientnet_lite import weights_from_torch
from tlkeras.errors import TlkerasError

GOLDEN = json.loads(Path(__file__).with_name("golden_efficientnet_lite.json").read_text())


def formula_picture(size):
    y, x, c = np.meshgrid(np.arange(size), np.arange(size), np.arange(3), indexing="ij")
    return (127.5 + 127.5 * np.sin(y / 11 + x / (17 + 4 * c) + c)).astype("float32")[None]


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_features_are_those_of_the_original(fetched, name):
    card = zoo.card(name)
    fetched(card)
    pooled = np.mean(load(card).model(formula_picture(card.input_size)), axis=(0, 1, 2))
    golden = GOLDEN[name]
    assert pooled.argmax() == golden["largest"]
    np.testing.assert_allclose(np.linalg.norm(pooled), golden["norm"], rtol=1e-4)
    np.testing.assert_allclose(pooled.reshape(8, 160).mean(1), golden["means_of_160_channels"], atol=1e-4)


def test_pth_of_another_network_is_refused(fetched):
    path = fetched(zoo.card("efficientnet_lite0"))
    with pytest.raises(TlkerasError, match="efficientnet_lite2"):
        load(zoo.card("efficientnet_lite2"), path, 32)


def test_tensors_that_are_missing_or_turned_are_listed(backbone):
    """As for every other file of weights: what is there is given, and compared by shapes."""
    card = zoo.card("efficientnet_lite0")
    taken = weights_from_torch({"_conv_stem.weight": np.zeros((32, 3, 9)), "_bn0.bias": np.zeros(32)}, card)
    assert [array.shape for array in taken["stem_conv"] + taken["stem_bn"]] == [(32, 3, 9), (32,)]
    assert taken.keys() == {layer.name for layer in backbone(card.name).model.layers if layer.weights}
    assert not taken["top_conv"]


def test_golden_file_covers_the_family():
    assert set(GOLDEN) == {name for name, card in zoo.cards().items() if card.family == "efficientnet_lite"}
