import keras
import numpy as np
import pytest

import tlkeras
from tlkeras import trainable
from tlkeras.errors import TlkerasError


@pytest.fixture(scope="module")
def built():
    model = tlkeras.build(classes=["a", "b"], weights="random", image_size=32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # Signals fade out in an untrained network with frozen BatchNorm, and gradients with them.
            layer.gamma.assign(layer.gamma * 3.0)
            layer.beta.assign(layer.beta + 0.1)
    return model, model.get_weights()


@pytest.fixture
def model(built):
    model, weights = built
    model.set_weights(weights)
    return model


def values(model):
    return {(layer.name, variable.name): variable.numpy() for layer in model.layers for variable in layer.weights}


def train_one_step(model):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")
    model.fit(images, np.array([0, 1, 0, 0]), verbose=0)


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
@pytest.mark.parametrize("choice", ["head", "top:1", "top:3", "all", "stage2", "stage6_.*expand.*,stem"])
def test_what_should_move_moves_and_the_rest_is_bit_identical(model, choice, batch_norm):
    plan = trainable.plan(model, choice, batch_norm)
    plan.apply(model)
    norms = {layer.name for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)}
    before = values(model)
    train_one_step(model)
    after = values(model)
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    expected = {name for name in before if name[0] in plan.trained_layers}
    assert not {layer for layer, _ in moved} & norms or batch_norm == "train"
    # A shift in front of a convolution whose BatchNorm takes means off has no effect, and so no gradient.
    without_effect = {name for name in expected if "project_bn" in name[0] and name[1] == "beta"}
    assert moved <= expected
    assert expected - moved <= (without_effect if batch_norm == "train" else set())


def test_the_table_counts_what_keras_counts(model):
    plan = trainable.plan(model, "top:2")
    plan.apply(model)
    assert sum(stage.parameters for stage in plan.stages) == model.count_params()
    assert sum(stage.trained_parameters for stage in plan.stages) == sum(
        int(np.prod(v.shape)) for v in model.trainable_weights
    )
    assert [stage.trains for stage in plan.stages] == ["no"] * 6 + ["yes"] * 3
    assert [stage.batch_norm for stage in plan.stages] == ["frozen"] * 8 + [""]


def test_a_part_of_a_stage_is_called_so(model):
    rows = {stage.name: stage.trains for stage in trainable.plan(model, "stage6_.*expand.*").stages}
    assert rows["stage6"] == "partly" and rows["stage5"] == "no" and rows["head"] == "yes"


def test_a_frozen_backbone_answers_the_same_in_training(model):
    trainable.plan(model, "head").apply(model)
    features = keras.Model(model.input, model.get_layer("pooling").output)
    images = np.random.default_rng(0).uniform(0, 255, (2, 32, 32, 3)).astype("float32")
    np.testing.assert_array_equal(features(images, training=True), features(images, training=False))


@pytest.mark.parametrize(
    ("choice", "message"),
    [("top:9", "1 to 8 stages"), ("nothing_like_it", "no stage and no layer"), ("stage[", "no regular expression")],
)
def test_a_choice_that_means_nothing_is_refused(model, choice, message):
    with pytest.raises(TlkerasError, match=message):
        trainable.plan(model, choice)


def test_a_model_from_elsewhere_has_no_stages():
    inputs = keras.Input((4,))
    with pytest.raises(TlkerasError, match="was not made by"):
        trainable.plan(keras.Model(inputs, keras.layers.Dense(2)(inputs)))
