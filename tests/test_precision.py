import keras
import numpy as np
import pytest
from helpers import make_tiny_model

from tlkeras.backbones.weight_files import set_weights
from tlkeras.precision import in_float32


@pytest.fixture
def mixed_model():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        yield make_tiny_model()
    finally:
        keras.config.set_dtype_policy("float32")


def test_a_float32_model_stays_what_it_is(tiny_model):
    assert in_float32(tiny_model) is tiny_model


def test_a_mixed_model_answers_as_its_float32_twin(mixed_model):
    images = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    copy = in_float32(mixed_model)
    keras.config.set_dtype_policy("float32")
    twin = make_tiny_model()
    twin.set_weights(mixed_model.get_weights())
    np.testing.assert_array_equal(copy.predict(images, verbose=0), twin.predict(images, verbose=0))
    assert np.abs(copy.predict(images, verbose=0) - mixed_model.predict(images, verbose=0)).max() > 0
    assert copy.get_layer("logits").classes == mixed_model.get_layer("logits").classes


def test_bare_operations_are_copied_too():
    image = keras.Input((8,))
    branch = keras.layers.Dense(8, dtype="mixed_bfloat16")(image)
    model = keras.Model(image, keras.layers.Dense(2, dtype="mixed_bfloat16")(branch + image))
    copy = in_float32(model)
    assert {layer.compute_dtype for layer in copy.layers} == {"float32"}
    ones = np.ones((1, 8), np.float32)
    np.testing.assert_allclose(copy.predict(ones, verbose=0), model.predict(ones, verbose=0), atol=0.1)


def test_a_normalisation_inside_keeps_its_mean():
    image = keras.Input((4, 4, 3))
    model = keras.Model(image, keras.layers.Normalization(dtype="mixed_bfloat16", name="inside")(image))
    set_weights(model.get_layer("inside"), [np.full(3, 5.0), np.full(3, 4.0), np.array(0)])
    np.testing.assert_array_equal(in_float32(model).predict(np.full((1, 4, 4, 3), 9.0), verbose=0), 2.0)
