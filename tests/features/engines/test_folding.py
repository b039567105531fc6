import keras
import numpy as np
import pytest

import tlkeras
from tlkeras.features.engines import parity
from tlkeras.features.engines.folding import fold
from tlkeras.features.engines.graphs import trace

# How many of the BatchNorm layers follow a convolution that nothing else reads.
FOLDED = {
    "efficientnet_lite0": (49, 49),
    "mobilenet_v3_small": (34, 34),
    "resnet50_v2": (32, 49),
    "densenet121": (59, 121),
    "xception": (40, 40),
}


def stir(model: keras.Model) -> keras.Model:
    """Gives each BatchNorm weights and statistics as if it had been trained."""
    random = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            for variable in layer.weights:
                low, high = (0.5, 1.5) if variable.name in ("gamma", "moving_variance") else (-0.3, 0.3)
                variable.assign(random.uniform(low, high, variable.shape))
    return model


def error(model: keras.Model) -> float:
    batch = np.random.default_rng(1).uniform(0, 255, (3, *model.input.shape[1:])).astype("float32")
    ours = [output.numpy() for output in trace(model).function(batch)]
    theirs = [np.array(output) for output in keras.tree.flatten(model(batch, training=False))]
    return parity.measure(ours, theirs).error


SLOW = ("densenet121", "xception")


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in FOLDED])
def test_a_folded_backbone_is_the_same(name):
    model = stir(tlkeras.build(name, classes=["a", "b"], weights="random", image_size=96 if name == "xception" else 32))
    features = keras.Model(model.input, [model.get_layer("dropout").input])
    norms = sum(isinstance(layer, keras.layers.BatchNormalization) for layer in features.layers)
    before = model.get_weights()
    assert (len(fold(features).shifts), norms) == FOLDED[name]
    assert error(features) < 1e-5
    assert all(map(np.array_equal, before, model.get_weights()))


@pytest.mark.parametrize(
    "linear",
    [
        keras.layers.Conv2D(6, 3, use_bias=True, bias_initializer="normal"),
        keras.layers.Conv2D(6, 3, groups=3),
        keras.layers.DepthwiseConv2D(3, depth_multiplier=2, bias_initializer="normal"),
        keras.layers.SeparableConv2D(6, 3, depth_multiplier=2, bias_initializer="normal"),
        keras.layers.Dense(6, bias_initializer="normal"),
    ],
    ids=lambda layer: layer.name,
)
@pytest.mark.parametrize("parts", [(True, True), (False, True), (True, False), (False, False)])
def test_each_linear_layer_folds(linear, parts):
    image = keras.Input((8, 8, 3))
    norm = keras.layers.BatchNormalization(scale=parts[0], center=parts[1])
    model = stir(keras.Model(image, norm(type(linear).from_config(linear.get_config())(image))))
    assert len(fold(model).shifts) == 1
    assert error(model) < 1e-5


def tangled(kind: str) -> keras.Model:
    image = keras.Input((8, 8, 3))
    layer, norm = keras.layers.Conv2D(4, 3), keras.layers.BatchNormalization()
    if kind == "activation":
        return keras.Model(image, norm(keras.layers.Conv2D(4, 3, activation="relu")(image)))
    if kind == "other axis":
        return keras.Model(image, keras.layers.BatchNormalization(axis=1)(layer(image)))
    if kind == "called twice":
        return keras.Model(image, norm(layer(image)) + layer(image[:, ::-1]))
    middle = layer(image)
    if kind == "also an output":
        return keras.Model(image, [norm(middle), middle])
    return keras.Model(image, norm(middle) + middle)


@pytest.mark.parametrize("kind", ["activation", "other axis", "called twice", "also an output", "read twice"])
def test_what_cannot_be_folded_is_left(kind):
    model = stir(tangled(kind))
    assert fold(model).shifts == {}
    assert error(model) < 1e-5


def test_another_model_on_the_same_layers_does_not_hinder():
    image = keras.Input((8, 8, 3))
    middle = keras.layers.Conv2D(4, 3)(image)
    model = stir(keras.Model(image, keras.layers.BatchNormalization()(middle)))
    keras.Model(image, keras.layers.ReLU()(middle))
    assert len(fold(model).shifts) == 1


@pytest.mark.parametrize(("padding", "strides", "filters"), [("same", 1, 3), ("same", 2, 6), ("valid", 2, 6)])
def test_as_many_groups_as_channels_is_depthwise(padding, strides, filters):
    image = keras.Input((9, 8, 3))
    layer = keras.layers.Conv2D(filters, 3, strides, padding, groups=3, activation="relu", bias_initializer="normal")
    model = keras.Model(image, layer(image))
    assert error(model) < 1e-5
    assert not trace(model).definition.library.function


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_a_model_in_mixed_precision_keeps_it(policy):
    image = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, dtype=policy)(image)
    model = stir(keras.Model(image, keras.layers.BatchNormalization(dtype=policy)(x)))
    assert fold(model).shifts == {}
    assert error(model) < 0.02
    assert trace(model).function.outputs[0].dtype == "float32"
