import subprocess
import sys

import keras
import numpy as np
import pytest

import tlkeras
from tlkeras.errors import TlkerasError


@pytest.fixture(scope="module")
def model():
    return tlkeras.build(classes=["cat", "dog", "Zürich"], weights="random", image_size=32, pooling="gem")


def images():
    return np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype("float32")


def test_the_model_is_plain_keras(model):
    assert type(model).__module__.startswith("keras.")
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    history = model.fit(images(), np.array([0, 1, 2, 0]), verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_logits_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = tlkeras.build(classes=["a", "b"], weights="random", image_size=32)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("stem_conv").compute_dtype == "bfloat16"
    assert keras.backend.standardize_dtype(model(images()).dtype) == "float32"


@pytest.mark.parametrize("first", ["import keras, tlkeras", "import tlkeras, tensorflow, keras"])
def test_a_saved_model_needs_nothing_else(model, tmp_path, first):
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images())
    program = f"""
{first}
import numpy as np
model = keras.saving.load_model({str(tmp_path / "model.keras")!r})
assert model.get_layer("logits").classes == ["cat", "dog", "Zürich"]
assert model.get_layer("preprocess").card["name"] == "efficientnet_lite0"
np.save({str(tmp_path / "answers.npy")!r}, model.predict(np.load({str(tmp_path / "images.npy")!r}), verbose=0))
"""
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    np.testing.assert_allclose(np.load(tmp_path / "answers.npy"), model.predict(images(), verbose=0), atol=1e-5)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"backbone": "resnet5"}, "Did you mean 'resnet50'"),
        ({"head": "clasify"}, "Did you mean 'classify'"),
        ({"pooling": "maxx"}, "Did you mean 'max'"),
        ({"classes": ["one"]}, "two classes or more"),
        ({"classes": ["a", "a"]}, "differ from each other"),
        ({"classes": 3}, "classes is a list of names"),
        ({"classes": "ab"}, "classes is a list of names"),
        ({"dropout": 1.5}, "0 to below 1"),
        ({"trainable": None}, "trainable: legal is a value of type str"),
        ({"image_size": "64"}, "image_size: legal is a value of type int"),
        ({"image_size": 8}, "32 pixels"),
        ({"weights": "none_such.keras"}, "none_such.keras"),
    ],
)
def test_what_does_not_fit_is_named(wrong, message):
    with pytest.raises(TlkerasError, match=message):
        tlkeras.build(**{"classes": ["a", "b"], "weights": "random", **wrong})


@pytest.mark.parametrize(("given", "seen"), [("bfloat16", "bfloat16"), ("none", "float32")])
def test_precision_is_built_in_and_leaves_keras_alone(given, seen):
    model = tlkeras.build(classes=["a", "b"], weights="random", image_size=32, mixed_precision=given)
    assert model.get_layer("stem_conv").compute_dtype == seen
    assert tlkeras.trainable.recipe(model)["mixed_precision"] == given
    assert keras.config.dtype_policy().name == "float32"
