"""What every backbone on every card promises."""

import inspect

import keras
import numpy as np
import pytest

from tlkeras import zoo

# Modules of TF-Hub cannot be had without a network.
NAMES = [name for name, card in zoo.cards().items() if card.scheme != "hub"]
HEAD_LAYERS = {"pooling", "dropout", "logits"}


def picture(size, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, (1, size, size, 3)).astype("float32")


def features(model, **kwargs):
    return np.asarray(model(picture(model.input_shape[1]), **kwargs))


def test_every_card_is_seen():
    assert len(NAMES) == 7


@pytest.mark.parametrize("name", NAMES)
def test_card_tells_the_truth(backbone, name):
    model, card = backbone(name).model, zoo.card(name)
    assert model.input_shape == (None, card.input_size, card.input_size, 3)
    assert model.output_shape[-1] == card.features and len(model.output_shape) == 4
    assert model.count_params() == card.parameters
    assert model.get_layer("preprocess").card == card.to_dict()


@pytest.mark.parametrize("name", NAMES)
def test_model_is_flat_and_leaves_the_names_of_heads_free(backbone, name):
    layers = backbone(name).model.layers
    assert [layer.name for layer in layers[:2]] == ["image", "preprocess"]
    assert not any(isinstance(layer, keras.Model) for layer in layers)
    assert not HEAD_LAYERS & {layer.name for layer in layers}
    assert all(len(layer._inbound_nodes) == 1 for layer in layers)


@pytest.mark.parametrize("name", NAMES)
def test_stages_hold_every_layer_once_and_in_order(backbone, name):
    model, stages = backbone(name).model, backbone(name).stages
    staged = [layer for stage in stages for layer in stage.layers]
    assert sorted(staged) == sorted(layer.name for layer in model.layers[2:])
    weighted = {layer.name for layer in model.layers if layer.weights}
    assert [n for n in staged if n in weighted] == [layer.name for layer in model.layers if layer.weights]
    assert len({stage.name for stage in stages}) == len(stages) == len(zoo.card(name).stages)


@pytest.mark.parametrize("name", NAMES)
def test_saved_model_says_the_same(backbone, name, tmp_path):
    model = backbone(name).model
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(features(loaded), features(model), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_random_in_training(backbone, name):
    model = backbone(name).model
    model.trainable = False
    expected = features(model, training=False)
    for _ in range(2):
        np.testing.assert_array_equal(features(model, training=True), expected)
    model.trainable = True


@pytest.mark.parametrize("name", [name for name in NAMES if zoo.card(name).scheme == "keras"])
def test_keras_says_the_same_for_the_same_weights(backbone, name):
    """Its own network behind its own preprocessing, which is inside the network for some and before it for others."""
    model, make = backbone(name).model, getattr(keras.applications, zoo.card(name).source.removeprefix("keras:"))
    original = make(include_top=False, weights=None, input_shape=model.input_shape[1:])
    original.set_weights(model.get_weights())
    preprocess_input = inspect.getmodule(make).preprocess_input
    expected = original(preprocess_input(picture(model.input_shape[1])), training=False)
    np.testing.assert_allclose(features(model, training=False), expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())
