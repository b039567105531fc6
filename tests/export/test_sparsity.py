import keras
import numpy as np
import pytest
from helpers import CLASSES, make_tiny_model

from tlkeras import data as data_room
from tlkeras import heads
from tlkeras.backbones.preprocess import Preprocess
from tlkeras.engine.train import make_deterministic
from tlkeras.errors import TlkerasError
from tlkeras.export import sparsity


@pytest.fixture(scope="module")
def colours(photo_folder):
    return data_room.load(photo_folder)


@pytest.fixture(scope="module")
def model(colours) -> keras.Model:
    keras.utils.set_random_seed(0)
    image = keras.Input((32, 32, 3), name="image")
    x = Preprocess({"name": "small", "preprocess": "tf"}, name="preprocess")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, name="first", trainable=False)(x)
    x = keras.layers.BatchNormalization(name="normalization", trainable=False)(x)
    x = keras.layers.DepthwiseConv2D(3, name="depthwise")(x)
    x = keras.layers.Conv2D(16, 1, activation="relu", name="wide")(x)
    x = keras.layers.Conv2D(8, 1, name="narrow")(x)
    return keras.Model(image, heads.classify(x, colours.classes), name="small")


@pytest.fixture(scope="module")
def before(model) -> list[np.ndarray]:
    return model.get_weights()


@pytest.fixture(scope="module")
def pruned(model, colours, before, shown) -> keras.Model:
    return sparsity.prune(model, colours, 0.75, epochs=2, on_epoch=lambda *epoch: shown.append(epoch))


@pytest.fixture(scope="module")
def shown() -> list[tuple]:
    return []


def test_a_share_of_each_inner_kernel_is_zero(model, before, pruned, shown):
    assert [variable.path for variable in sparsity.prunable(model)] == ["wide/kernel", "narrow/kernel"]
    assert [np.mean(pruned.get_layer(name).kernel.numpy() == 0) for name in ("wide", "narrow")] == [0.75, 0.75]
    assert all(pruned.get_layer(name).get_weights()[0].all() for name in ("first", "depthwise", "logits"))
    assert sparsity.zeros(pruned)[0] == 0.75 and 0 < sparsity.zeros(pruned)[1] < 0.75
    assert [number for number, _ in shown] == [1, 2]
    assert all(np.array_equal(*pair) for pair in zip(before, model.get_weights(), strict=True))


def test_what_is_frozen_comes_out_so_and_batch_norm_as_it_was(model, pruned):
    assert [layer.trainable for layer in pruned.layers] == [layer.trainable for layer in model.layers]
    kept = [one.get_layer("normalization").get_weights() for one in (pruned, model)]
    assert all(np.array_equal(*pair) for pair in zip(*kept, strict=True))
    assert not pruned.compiled
    assert not np.array_equal(pruned.get_layer("first").kernel, model.get_layer("first").kernel)


def test_a_seed_gives_the_same_each_time(model, colours):
    found = []
    for _ in range(2):
        make_deterministic(3)
        found.append(sparsity.prune(model, colours, 0.75, epochs=2, seed=3).get_weights())
    assert all(np.array_equal(*pair) for pair in zip(*found, strict=True))


def test_there_must_be_something_to_prune(colours):
    with pytest.raises(TlkerasError, match="tiny has nothing to prune"):
        sparsity.prune(make_tiny_model(CLASSES[:3]), colours, 0.5)


@pytest.mark.parametrize("share", [0, 1, -0.5])
def test_the_share_must_leave_something(model, colours, share):
    with pytest.raises(TlkerasError, match=f"above 0 and below 1. Received: {share}"):
        sparsity.prune(model, colours, share)
