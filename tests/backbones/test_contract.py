"""What every image backbone that needs no TF-Hub promises: a few small ones always, the others with `-m slow`."""

import gc
import inspect
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras.src.utils import file_utils

import tlkeras
from tlkeras import trainable, zoo
from tlkeras.backbones.weight_files import set_weights
from tlkeras.export.golden import TOLERANCE
from tlkeras.export.serving import Serving

CARDS = [card for card in zoo.cards().values() if card.scheme in ("keras", "pypi") and card.task == "image"]
FAST = {"efficientnet_lite0", "efficientnet_b0", "mobilenet", "mobilenet_v3_small", "vgg16"}


def marks(card):
    return () if card.name in FAST else pytest.mark.slow


@pytest.fixture(scope="module", params=[pytest.param(card, marks=marks(card), id=card.name) for card in CARDS])
def card(request):
    """All tests of one card come in a row, so that one network at a time is in memory."""
    return request.param


@pytest.fixture(scope="module")
def model(card):
    keras.backend.clear_session()
    gc.collect()
    keras.utils.set_random_seed(0)
    model = tlkeras.build(card, classes=["a", "b", "c"], weights="random", trainable="all")
    make_lifelike(model, picture(card).astype("float32"))
    return model


def make_lifelike(model, images):
    """Keeps activations near 1, where deep random networks blow them up, and rounding errors with them.

    Biases, scales and statistics then all differ from each other, so that none can stand in another's place unseen.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.trainable, norm.momentum = True, 0.0
    model(images, training=True)
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
        norm.moving_variance.assign_add(norm.moving_mean**2)
        norm.moving_mean.assign(norm.moving_mean * 0)
    noise = np.random.default_rng(0)
    for layer in model.layers:
        set_weights(layer, [w + noise.uniform(0, 0.1, w.shape) if w.ndim == 1 else w for w in layer.get_weights()])


@pytest.fixture
def folder(tmp_path):
    """The largest network is 1.4 GB: pytest would keep the files of all."""
    yield tmp_path
    shutil.rmtree(tmp_path)


def network(card):
    return getattr(keras.applications, card.source.removeprefix("keras:"))


def picture(card):
    return np.random.default_rng(0).integers(0, 256, (1, card.input_size, card.input_size, 3), np.uint8)


def backbone_of(model):
    return keras.Model(model.input, model.get_layer("pooling").input)


def answers(model, images):
    """The pooled features and the logits."""
    both = keras.Model(model.input, [model.get_layer("dropout").input, model.output])
    return [np.asarray(output) for output in both(images.astype("float32"), training=False)]


def assert_close(received, expected, tolerance=1e-5):
    assert np.isfinite(expected).all() and np.ptp(expected) > 0
    np.testing.assert_allclose(received, expected, rtol=tolerance, atol=tolerance * np.abs(expected).max())


def test_keras_has_no_network_without_a_card():
    modules = [keras.applications, *filter(inspect.ismodule, vars(keras.applications).values())]
    made = {make.__name__ for module in modules for make in vars(module).values() if inspect.isfunction(make)}
    networks = {name for name in made if name[0].isupper()}
    named = {card.source.removeprefix("keras:") for card in CARDS if card.scheme == "keras"}
    assert networks == named, "keras.applications and zoo/ differ"
    assert len(networks) == 40


def test_card_tells_the_truth(card, model):
    backbone = backbone_of(model)
    assert backbone.input_shape == (None, card.input_size, card.input_size, 3)
    assert backbone.output_shape[-1] == card.features and len(backbone.output_shape) == 4
    assert backbone.count_params() == card.parameters
    assert model.get_layer("preprocess").card == card.to_dict()


def test_model_is_flat(model):
    assert [layer.name for layer in model.layers[:2]] == ["image", "preprocess"]
    assert [layer.name for layer in model.layers[-3:]] == ["pooling", "dropout", "logits"]
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)


def test_stages_hold_every_layer_with_weights_once_and_in_order(card, model):
    *stages, head = trainable.stages_with_head(model)
    weighted = [layer.name for layer in model.layers if layer.weights]
    assert [name for stage in [*stages, head] for name in stage.layers if name in weighted] == weighted
    assert head.layers == ("pooling", "dropout", "logits")
    assert len({stage.name for stage in stages}) == len(stages) == len(card.stages)


def test_top_n_trains_the_last_n_stages_for_every_n(card, model):
    model.trainable = True
    for layer in model.layers:
        layer.trainable = True
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.BatchNormalization)]
    for count in range(1, len(card.stages) + 1):
        patterns = [*card.stages[-count:], "logits"]
        wanted = [layer for layer in layers if any(re.fullmatch(pattern, layer.name) for pattern in patterns)]
        trainable.plan(model, f"top:{count}").apply(model)
        expected = {id(weight) for layer in wanted for weight in layer.trainable_weights}
        assert {id(weight) for weight in model.trainable_weights} == expected
        assert all(layer.trainable for layer in wanted)


def test_nothing_is_random_in_training(card, model):
    backbone, images = backbone_of(model), picture(card).astype("float32")
    backbone.trainable = False
    np.testing.assert_array_equal(backbone(images, training=True), backbone(images, training=False))


def test_saved_model_says_the_same(card, model, folder):
    model.save(folder / "model.keras")
    loaded = keras.saving.load_model(folder / "model.keras")
    for received, expected in zip(answers(loaded, picture(card)), answers(model, picture(card)), strict=True):
        assert_close(received, expected)


ASK = """
import sys
import numpy as np
import tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
picture = tf.io.read_file(sys.argv[2])[None]
answers = {name: signatures[name](image_bytes=picture)[name] for name in ("features", "probabilities")}
np.savez(sys.argv[3], **answers)
"""


def test_export_says_the_same(card, model, folder):
    """Asked in a process of its own: TensorFlow keeps the memory of a SavedModel that has answered."""
    Serving(model).save(str(folder / "export"))
    tf.io.write_file(str(folder / "picture.png"), tf.io.encode_png(picture(card)[0]))
    files = [folder / name for name in ("export", "picture.png", "answers.npz")]
    subprocess.run([sys.executable, "-c", ASK, *files], check=True, capture_output=True)
    features, logits = answers(model, picture(card))
    with np.load(folder / "answers.npz") as exported:
        # As near as the proof of an export asks.
        assert_close(exported["features"], features, TOLERANCE)
        np.testing.assert_allclose(exported["probabilities"], tf.nn.softmax(logits), atol=TOLERANCE)


def module_of(make):
    return sys.modules[make.__module__]


def with_stem(model):
    """The model with a second output: what enters its first convolution, which may be inside a Sequential."""
    first = next(x for x in model.layers if x.weights and not isinstance(x, keras.layers.Normalization))
    return keras.Model(model.input, [first.input, model.output])


def test_keras_computes_the_same(card, model, folder, monkeypatch):
    """Its own network behind its own preprocessing, which is inside the network for some and before it for others."""
    if card.scheme != "keras":
        pytest.skip(f"{card.name} is written here: Keras has no such network, nor a file of its weights")
    make, shape = network(card), (card.input_size, card.input_size, 3)
    ours = backbone_of(model)
    original = make(include_top=False, weights=None, input_shape=shape)
    original.set_weights(ours.get_weights())
    if card.family == "efficientnet":
        # With random weights, Keras leaves a layer of its own out.
        original.save_weights(folder / "any.weights.h5")
        monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: folder / "any.weights.h5")
        original = make(include_top=False, weights="imagenet", input_shape=shape)
    images = picture(card).astype("float32")
    theirs = with_stem(original)(module_of(make).preprocess_input(images.copy()), training=False)
    stem, features = with_stem(ours)(images, training=False)
    assert_close(stem, np.asarray(theirs[0]))
    # The last bit of a pixel grows on its way through hundreds of layers of random weights.
    assert_close(features, np.asarray(theirs[1]), tolerance=1e-4)


class AskedFor(Exception):
    """What Keras wanted to download."""


def test_keras_downloads_the_file_that_is_on_the_card(card, monkeypatch):
    if card.scheme != "keras":
        pytest.skip(f"{card.name} is written here: Keras has no such network, nor a file of its weights")

    def get_file(fname, origin, file_hash=None, **_):
        raise AskedFor(fname, origin, file_hash)

    make = network(card)
    monkeypatch.setattr(file_utils, "get_file", get_file)
    with pytest.raises(AskedFor) as asked:
        make(include_top=False, weights="imagenet", input_shape=(card.input_size, card.input_size, 3))
    assert asked.value.args == (card.file or card.url.rpartition("/")[2], card.url, card.md5 or card.sha256)
