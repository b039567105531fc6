import hub_modules
import keras
import numpy as np
import pytest
import tensorflow as tf
from hub_modules import FEATURES, SIZE, pictures

from tlkeras.backbones.hub_module import HubModule, Unit
from tlkeras.errors import TlkerasError, TlkerasWarning

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def with_head(layer, size=SIZE):
    image = keras.Input((size, size, 3))
    model = keras.Model(image, keras.layers.Dense(2)(layer(image)))
    model.compile(keras.optimizers.SGD(0.1), LOSS, jit_compile=False)
    return model


def fit(model, **kwargs):
    return model.fit(pictures() / 255, np.array([0, 1, 0, 1]), batch_size=4, verbose=0, **kwargs).history


def values(layer):
    return {(unit.name, weight.name): weight.numpy() for unit in layer.units for weight in unit.weights}


def moved(layer, before):
    return {name for name, value in values(layer).items() if not np.array_equal(value, before[name])}


@pytest.fixture
def layer(hub_module):
    return HubModule(str(hub_module("keras2")))


def test_variables_are_the_modules_own(layer):
    assert [unit.name for unit in layer.units] == [
        f"{block}_{kind}" for block in ("stem", "block1a", "block2a") for kind in ("conv", "bn")
    ]
    assert [unit.is_batch_norm for unit in layer.units] == [False, True] * 3
    assert {id(weight.value) for weight in layer.weights} == {id(v) for v in layer.loaded.variables}
    assert len(layer.trainable_weights) == len(layer.loaded.trainable_variables) == 12


def test_it_answers_as_keras_2_does(layer, hub_module):
    images = pictures() / 255
    expected = tf.saved_model.load(str(hub_module("keras2")))(images, training=False)
    np.testing.assert_array_equal(layer(images), expected)
    np.testing.assert_array_equal(with_head(layer).layers[1].output.shape, (None, FEATURES))


def test_it_trains_as_the_bare_module_does(layer, hub_module):
    """A step of gradient descent through all of it, BatchNorm on its moving statistics."""
    images, labels, bare = pictures() / 255, np.array([0, 1, 0, 1]), tf.saved_model.load(str(hub_module("keras2")))
    model = with_head(layer)
    head = [tf.constant(weight.numpy()) for weight in model.layers[-1].weights]
    fit(model)
    with tf.GradientTape() as tape:
        loss = LOSS(labels, bare(images, training=False) @ head[0] + head[1])
        loss += sum(term() for term in bare.regularization_losses)
    for variable, gradient in zip(bare.trainable_variables, tape.gradient(loss, bare.trainable_variables), strict=True):
        variable.assign_sub(0.1 * gradient)
    for trained, expected in zip(layer.loaded.variables, bare.variables, strict=True):
        np.testing.assert_allclose(trained, expected, atol=1e-6)


def test_frozen_it_stays_as_it_is_within_fit(layer):
    layer.trainable = False
    before = values(layer)
    model = with_head(layer)
    assert len(model.trainable_weights) == 2 and model.losses == []
    fit(model, epochs=2)
    assert moved(layer, before) == set()


def test_only_units_that_train_move(layer):
    layer.train_units(["block2a_conv"])
    before = values(layer)
    fit(with_head(layer))
    assert moved(layer, before) == {("block2a_conv", "kernel"), ("block2a_conv", "bias")}


def test_training_mode_moves_the_statistics(layer):
    layer.train_units([unit.name for unit in layer.units], "train")
    before = values(layer)
    fit(with_head(layer))
    assert {name for _, name in moved(layer, before)} >= {"moving_mean", "moving_variance", "gamma", "kernel"}


def test_regularisation_counts_while_it_trains(layer):
    model, expected = with_head(layer), sum(float(term) for term in layer.saved.regularization())
    plain = LOSS(np.array([0, 1, 0, 1]), model(pictures() / 255))
    assert expected > 0.01
    np.testing.assert_allclose(fit(model)["loss"][0], plain + expected, rtol=1e-5)
    layer.trainable = False
    model.compile("sgd", LOSS, jit_compile=False)
    before = model.evaluate(pictures() / 255, np.array([0, 1, 0, 1]), verbose=0)
    np.testing.assert_allclose(fit(model)["loss"][0], before, rtol=1e-5)


@pytest.mark.parametrize("batch_norm", ["frozen", "train"])
def test_saved_it_comes_back_with_its_weights_and_decisions(layer, tmp_path, batch_norm):
    names = [unit.name for unit in layer.units if batch_norm == "train" or unit.name == "block2a_conv"]
    layer.train_units(names, batch_norm)
    model = with_head(layer)
    fit(model)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(pictures(), verbose=0), model.predict(pictures(), verbose=0))
    again = next(part for part in loaded.layers if isinstance(part, HubModule))
    assert [unit.name for unit in again.units if unit.trainable] == names and again.batch_norm == batch_norm
    before = values(again)
    fit(loaded)
    assert any(name == "moving_mean" for _, name in moved(again, before)) == (batch_norm == "train")


def test_a_copy_has_variables_of_its_own(layer):
    copy = HubModule.from_config(layer.get_config())
    copy.weights[0].assign(copy.weights[0] + 1)
    assert not np.array_equal(copy.weights[0], layer.weights[0])


def test_mixed_precision_leaves_its_types_alone(hub_module):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = with_head(HubModule(str(hub_module("keras2"))))
    finally:
        keras.config.set_dtype_policy("float32")
    assert np.isfinite(fit(model)["loss"]).all()


@pytest.mark.parametrize(("momentum", "expected"), [(None, 0.01), (0.5, 0.5)])
def test_further_arguments_have_defaults_and_can_be_given(hub_module, momentum, expected):
    arguments = {"batch_norm_momentum": momentum} if momentum else {}
    layer = HubModule(str(hub_module("momentum")), arguments, batch_norm="train")
    mean = np.mean(pictures() / 255, (0, 1, 2)) @ layer.units[0].weights[0].numpy()
    fit(with_head(layer))
    np.testing.assert_allclose(layer.units[1].weights[0], mean * expected, rtol=1e-4)


@pytest.mark.parametrize(
    ("kind", "key", "other"), [("momentum", "twice", "default"), ("tuple", "1", "0"), ("tuple", 1, 0)]
)
def test_one_of_several_outputs(hub_module, kind, key, other):
    images = pictures() / 255
    twice, once = (HubModule(str(hub_module(kind)), output_key=k)(images) for k in (key, other))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("momentum", {"output_key": "twise"}, "Did you mean 'twice'.*Legal: default, twice"),
        ("tuple", {}, "gives several outputs.*Legal: 0, 1"),
        ("tuple", {"output_key": 2}, "unknown output_key.*Legal: 0, 1"),
        ("keras2", {"output_key": "default"}, "gives one tensor"),
        ("keras2", {"output_key": 0}, "gives one tensor"),
        ("momentum", {"arguments": {"momentum": 0.5}}, "Did you mean 'batch_norm_momentum'"),
        ("momentum", {"arguments": {"batch_norm_momentum": "much"}}, "not traced for this call"),
        ("tf1", {"arguments": {"momentum": 0.5}}, "unknown argument.*Legal: images"),
        ("tf1", {"arguments": {"images": 0.5}}, "cannot be called with the arguments"),
        ("tf1", {"arguments": {"images": "x"}}, "does not take the arguments"),
        ("NaN", {}, "NaN, or beyond float32, in its variables stage1/kernel:0, stage2/kernel:0"),
    ],
)
def test_what_a_module_does_not_know_is_named(hub_module, kind, options, message):
    with pytest.raises(TlkerasError, match=message):
        HubModule(str(hub_module(kind)), **options)


def test_counters_are_no_weights(hub_module):
    layer = HubModule(str(hub_module("counted")))
    assert [unit.name for unit in layer.units] == ["stage1", "stage2"] and layer.count_params() == 18
    assert {variable.name for variable in layer.saved.resources()} == {"save_counter:0", "iteration:0"}


@pytest.mark.parametrize("kind", ["tf1", "signature"])
def test_modules_that_only_serve_work_frozen(hub_module, kind):
    layer = HubModule(str(hub_module(kind)))
    kernel = layer.weights[0].numpy()
    np.testing.assert_allclose(layer(pictures()), pictures().mean((1, 2)) @ kernel, rtol=1e-5)
    fit(with_head(layer))
    np.testing.assert_array_equal(layer.weights[0], kernel)
    with pytest.raises(TlkerasError, match=r"cannot be trained: it is (in the format of TF1|a SavedModel)"):
        layer.check_trains([unit.name for unit in layer.units], "frozen")
    with pytest.raises(TlkerasError, match="cannot be trained"):
        HubModule(str(hub_module(kind)), trainable=True)
    model = with_head(layer)
    layer.trainable = True
    with pytest.warns(TlkerasWarning, match="the layer .* stays frozen: .* cannot be trained"):
        fit(model)


def test_a_model_saved_with_a_layer_that_only_serves_loads(hub_module, tmp_path):
    model = with_head(HubModule(str(hub_module("tf1"))))
    model.layers[1].trainable = True
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    fit(loaded)
    assert not loaded.layers[1].trainable


def test_variables_have_paths_of_their_own(hub_module, layer):
    assert layer.weights[0].path == f"{layer.name}/stem_conv/kernel"
    nameless = HubModule(str(hub_module("keras2")), name="module")
    paths = [weight.path for weight in nameless.weights]
    assert len(set(paths)) == len(paths) and "module/block1a_bn/gamma" in paths
    unit = Unit("a//b", [(tf.Variable([float(i)], name="a//b/w"), True) for i in range(3)], "module")
    assert [weight.path for weight in unit.weights] == ["module/a//b/w", "module/a//b/w_1", "module/a//b/w_2"]


def test_a_part_of_the_batch_norm_cannot_train(layer):
    layer.check_trains(["block2a_conv"], "frozen")
    layer.check_trains([], "train")
    with pytest.raises(TlkerasError, match="one graph"):
        layer.check_trains(["block2a_conv", "block2a_bn"], "train")


def test_a_module_of_another_kind_is_refused(layer, hub_module):
    with pytest.raises(TlkerasError, match="another SHA-256"):
        HubModule(str(hub_module("momentum")), sha256=layer.sha256[::-1])
    with pytest.raises(TlkerasError, match="other variables"):
        HubModule(str(hub_module("keras2")), units=layer.get_config()["units"][:-1])


@pytest.mark.parametrize("damage", [b"", b"no graph at all", None])
def test_a_damaged_module_is_named(hub_module, tmp_path, damage):
    hub_modules.signature_module(tmp_path / "module")
    if damage is None:
        next((tmp_path / "module" / "variables").glob("*.data*")).write_bytes(b"")
    else:
        (tmp_path / "module" / "saved_model.pb").write_bytes(damage)
    with pytest.raises(TlkerasError, match=r"module in .*/module cannot be loaded|SavedModel in .* can be called"):
        HubModule(str(tmp_path / "module"))
