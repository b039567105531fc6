import keras
import numpy as np
import pytest

import tlkeras
from tlkeras import trainable
from tlkeras.features.frontier import split


@pytest.fixture(scope="module")
def model():
    return tlkeras.build(classes=["a", "b"], weights="random", image_size=32)


def images(count=2, size=32):
    return np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype("float32")


def through(found, x):
    tensors = keras.tree.flatten(found.frozen(x))
    return found.rest(tensors[0] if len(tensors) == 1 else tuple(tensors))


@pytest.mark.parametrize(
    ("plan", "frontier"),
    [
        ("head", ["pooling"]),
        ("top:1", ["stage6_block4_add"]),
        ("top:2", ["stage5_block3_add"]),
        ("stage6_block4_project_conv", ["stage6_block3_add", "stage6_block4_depthwise_relu"]),
    ],
)
def test_the_two_parts_together_are_the_model(model, plan, frontier):
    trainable.plan(model, plan).apply(model)
    found = split(model)
    assert sorted(found.frontier) == frontier
    np.testing.assert_array_equal(through(found, images()), model(images()))
    assert not found.frozen.trainable_variables
    assert [v.path for v in found.rest.trainable_variables] == [v.path for v in model.trainable_variables]


def test_where_nothing_is_frozen_there_is_no_frontier(model):
    trainable.plan(model, "all").apply(model)
    assert split(model) is None


def test_what_is_random_is_computed_anew(model):
    image = keras.Input((4,))
    first = keras.layers.Dense(3, trainable=False)(keras.layers.Dropout(0.5)(image))
    assert split(keras.Model(image, keras.layers.Dense(2)(first))) is None


def test_batch_norm_that_follows_its_batches_is_not_frozen():
    image = keras.Input((4,))
    x = keras.layers.Dense(3, trainable=False)(image)
    x = keras.layers.BatchNormalization(scale=False, center=False, name="norm")(x)
    found = split(keras.Model(image, keras.layers.Dense(2)(x)))
    assert "norm" in [layer.name for layer in found.rest.layers]


def test_the_fingerprint_is_of_what_is_computed(model):
    trainable.plan(model, "head").apply(model)
    before = split(model).fingerprint()
    again = tlkeras.build(classes=["x", "y", "z"], weights="random", image_size=32, dropout=0.5, pooling="avg")
    assert split(again).fingerprint()["signature"] == before["signature"]
    again.set_weights([*model.get_weights()[:-2], *again.get_weights()[-2:]])
    assert split(again).fingerprint() == before
    larger = tlkeras.build(classes=["x", "y"], weights="random", image_size=64)
    assert split(larger).fingerprint()["signature"] != before["signature"]
    kernel = again.get_layer("stem_conv").kernel
    kernel.assign(kernel + 1e-3)
    assert split(again).fingerprint()["weights"] != before["weights"]


def test_what_the_rest_learns_the_model_has(model):
    trainable.plan(model, "top:1").apply(model)
    found = split(model)
    found.rest.trainable_variables[0].assign(found.rest.trainable_variables[0] + 1.0)
    np.testing.assert_array_equal(through(found, images()), model(images()))
