from dataclasses import replace

import keras
import pytest

from tlkeras import zoo
from tlkeras.backbones.stages import backbone_layers, stages_of
from tlkeras.errors import TlkerasError


@pytest.fixture(scope="module")
def card():
    return replace(zoo.card("efficientnet_lite0"), name="tiny", stages=("a_.*", "b_.*|c"))


@pytest.fixture(scope="module")
def layers():
    x = image = keras.Input((4,), name="image")
    for name in ("a_1", "a_2", "b_1", "c"):
        x = keras.layers.Dense(2, name=name)(x)
    x = keras.layers.ReLU(name="b_relu")(x)
    return keras.Model(image, keras.layers.Dense(2, name="logits")(x)).layers


def test_layers_by_stage(layers, card):
    stages = stages_of(backbone_layers(layers, card), card)
    assert [(stage.name, stage.layers) for stage in stages] == [("a", ("a_1", "a_2")), ("b", ("b_1", "c", "b_relu"))]


def test_head_is_no_part_of_the_backbone(layers, card):
    assert [layer.name for layer in backbone_layers(layers, card)] == ["image", "a_1", "a_2", "b_1", "c", "b_relu"]


def test_names_are_unique(layers, card):
    card = replace(card, stages=("a_1", ".*_2", "b_.*|c"))
    assert [stage.name for stage in stages_of(layers[:-1], card)] == ["a_1", "#2", "b"]


@pytest.mark.parametrize(
    ("patterns", "message"),
    [
        (("a_.*", "b_.*"), "layer 'c' is in no stage"),
        (("a_.*", "b_.*|c", "a_2"), "layer 'a_2' is in 2 stages"),
        (("b_.*|c", "a_.*"), "not in the order"),
        (("a_.*", "b_.*|c", "d"), "stage 'd' has no layer"),
    ],
)
def test_stages_that_do_not_cover(layers, card, patterns, message):
    with pytest.raises(TlkerasError, match=f"card 'tiny', key 'stages': .*{message}"):
        stages_of(layers[:-1], replace(card, stages=patterns))


def test_last_two_stages_of_lite0_begin_at_14_by_14_by_112(backbone):
    first = backbone("efficientnet_lite0").stages[-2].layers[0]
    assert backbone("efficientnet_lite0").model.get_layer(first).input.shape == (None, 14, 14, 112)
