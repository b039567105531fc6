import keras
import numpy as np
import pytest
from keras.src.utils import file_utils

from tlkeras import zoo
from tlkeras.backbones import keras_applications, load
from tlkeras.backbones.preprocess import Preprocess
from tlkeras.errors import TlkerasError

PICTURE = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3)).astype("float32")


@pytest.mark.parametrize("name", ["convnext_tiny", "efficientnet_v2_b0"])
def test_weights_that_keras_loads_arrive_in_the_flat_model(tmp_path, name):
    """Keras takes a file in place of `imagenet`, which goes the same way without the download."""
    card = zoo.card(name)
    make = getattr(keras.applications, card.source.removeprefix("keras:"))
    original = make(include_top=False, weights=None, input_shape=(32, 32, 3))
    original.save_weights(tmp_path / "notop.weights.h5")
    image = keras.Input((32, 32, 3), name="image")
    x = Preprocess(card.to_dict(), name="preprocess")(image)
    model = keras_applications.build(x, card, str(tmp_path / "notop.weights.h5"))
    for a, b in zip(model.get_weights(), original.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.fixture
def b0():
    return load(zoo.card("efficientnet_b0"), "random", 32).model


def test_efficientnet_normalises_as_its_files_expect(b0):
    normalise = keras.Model(b0.input, b0.get_layer("rescaling_1").output)
    expected = keras.applications.imagenet_utils.preprocess_input(PICTURE.copy(), mode="torch")
    np.testing.assert_allclose(normalise(PICTURE), expected, atol=1e-5)


def test_efficientnet_is_the_same_with_any_weights(b0, tmp_path, monkeypatch):
    """Keras alone has another graph with ImageNet weights than with others; the file stands in for its download."""
    card, make = zoo.card("efficientnet_b0"), keras.applications.EfficientNetB0
    source = make(include_top=False, weights=None, input_shape=(32, 32, 3))
    source.set_weights(b0.get_weights())
    source.save(tmp_path / "notop.h5")
    monkeypatch.setattr(file_utils, "get_file", lambda *_, **__: str(tmp_path / "notop.h5"))
    expected = make(include_top=False, weights="imagenet", input_shape=(32, 32, 3))(PICTURE)
    b0.save_weights(tmp_path / "ours.weights.h5")
    ours = [b0, load(card, tmp_path / "ours.weights.h5", 32).model, load(card, tmp_path / "notop.h5", 32).model]
    image = keras.Input((32, 32, 3), name="image")
    theirs = [keras_applications.build(image, card, file) for file in (str(tmp_path / "notop.h5"), "imagenet")]
    for model in ours + theirs:
        np.testing.assert_allclose(model(PICTURE), expected, rtol=1e-5, atol=1e-8)


def test_file_that_keras_cannot_load(tmp_path):
    (tmp_path / "notop.h5").write_bytes(b"no weights")
    with pytest.raises(TlkerasError, match=r"'mobilenet' cannot be loaded from .*notop\.h5: .*--weights FILE"):
        keras_applications.build(keras.Input((32, 32, 3)), zoo.card("mobilenet"), str(tmp_path / "notop.h5"))


def test_dropout_is_gone_and_nothing_is_renamed_but_what_keras_numbered(backbone):
    model = backbone("efficientnet_v2_b0").model
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)
    assert model.get_layer("block2b_drop").activation is keras.activations.linear
    assert backbone("convnext_tiny").model.layers[-1].name == "layer_normalization"
