import importlib.util
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import make_tiny_model

from tlkeras.backbones.hub_module import HubModule
from tlkeras.errors import TlkerasError
from tlkeras.features import engines
from tlkeras.features.engines import Engine, kinds, parity

PICTURES = np.random.default_rng(0).uniform(0, 255, (9, 32, 32, 3)).astype("float32")
BFLOAT16 = kinds.has_bfloat16()


def needs(engine: str) -> None:
    if engine not in engines.installed():
        pytest.skip(f"needs pip install '{kinds.what_to_install(engine)}'")


def needs_bfloat16() -> None:
    if not BFLOAT16:
        pytest.skip("needs a processor that computes in bfloat16")


@pytest.fixture(scope="module")
def frozen() -> keras.Model:
    """The front of a small model: two outputs, of which one is on the way to the other."""
    model = make_tiny_model()
    return keras.Model(model.input, [model.get_layer("dropout").input, model.get_layer("convolution").output])


def hide(monkeypatch, *names: str) -> None:
    """Makes modules look as if they were not installed."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in names else find(name, *more))


@pytest.mark.parametrize("engine", [*engines._ORDER], ids=str)
def test_each_engine_gives_what_keras_gives(frozen, engine, tmp_path):
    needs(engine.name)
    if engine.precision == "bfloat16":
        needs_bfloat16()
    forward = engines.make(engines.trace(frozen), engine, tmp_path)
    for count in (5, 1, 9):
        outputs = forward(PICTURES[:count])
        assert [output.dtype for output in outputs] == ["float32", "float32"]
        for ours, theirs in zip(outputs, frozen(PICTURES[:count], training=False), strict=True):
            near = 1e-4 if engine.precision == "float32" else 0.05
            np.testing.assert_allclose(ours, theirs, atol=near * np.abs(theirs).max())


@pytest.mark.parametrize("name", ["tensorflow", "openvino", "onnxruntime"])
def test_a_named_engine_is_taken(frozen, name):
    needs(name)
    forward = engines.choose(frozen, name, PICTURES, exact=True)
    assert forward.engine == Engine(name, "float32")
    assert forward.parity.cosine > 0.99999 and forward.parity.error < 1e-4


def test_auto_takes_the_first_that_is_here(frozen, monkeypatch):
    best = next(e for e in engines._ORDER if e.name in engines.installed() and (BFLOAT16 or e.precision == "float32"))
    assert engines.choose(frozen, "auto", PICTURES).engine == best
    hide(monkeypatch, "openvino", "tf2onnx")
    assert list(engines.installed()) == ["tensorflow"]
    assert engines.choose(frozen, "auto", PICTURES, exact=True).engine == Engine("tensorflow", "float32")


def test_what_is_computed_earlier_is_not_changed_by_later_batches(frozen):
    forward = engines.choose(frozen, "auto", PICTURES)
    first = forward(PICTURES[:4])[0]
    before = first.copy()
    forward(PICTURES[4:8])
    np.testing.assert_array_equal(first, before)


def test_later_training_does_not_reach_the_forward_pass():
    model = make_tiny_model()
    forward = engines.choose(keras.Model(model.input, [model.get_layer("dropout").input]), "auto", PICTURES)
    before = forward(PICTURES)[0]
    model.get_layer("convolution").kernel.assign(model.get_layer("convolution").kernel * 2)
    np.testing.assert_array_equal(forward(PICTURES)[0], before)


def test_the_options_of_the_process_stay(frozen):
    before = tf.config.optimizer.get_experimental_options()
    engines.choose(frozen, "tensorflow", PICTURES)(PICTURES)
    assert tf.config.optimizer.get_experimental_options() == before


@pytest.mark.parametrize(("name", "modules"), [("openvino", ["openvino"]), ("onnxruntime", ["onnxruntime", "tf2onnx"])])
def test_an_engine_that_is_not_installed(frozen, monkeypatch, name, modules):
    hide(monkeypatch, *modules)
    with pytest.raises(TlkerasError, match=f"{name} is not installed: pip install 'tlkeras"):
        engines.choose(frozen, name, PICTURES)
    with pytest.raises(TlkerasError, match="is not installed"):
        engines.make(engines.trace(frozen), Engine(name, "float32"))


def test_an_unknown_engine(frozen):
    with pytest.raises(TlkerasError, match="Did you mean 'openvino'"):
        engines.choose(frozen, "openvin", PICTURES)


def test_what_is_too_far_in_bfloat16_is_computed_in_float32(frozen, monkeypatch):
    monkeypatch.setitem(parity._LIMITS, "bfloat16", (1.0, 0.0))
    for name in ("auto", *engines.installed()):
        assert engines.choose(frozen, name, PICTURES).engine.precision == "float32"


def test_what_is_too_far_in_any_precision(frozen, monkeypatch):
    for precision in ("float32", "bfloat16"):
        monkeypatch.setitem(parity._LIMITS, precision, (2.0, 0.0))
    assert engines.choose(frozen, "auto", PICTURES).engine == Engine("tensorflow", "float32")
    for name in engines.installed():
        with pytest.raises(TlkerasError, match=f"{name}, float32: it computes something else .cosine"):
            engines.choose(frozen, name, PICTURES)


def strings() -> keras.Model:
    text = keras.Input((), dtype="string", name="text")
    words = keras.layers.TextVectorization(vocabulary=["good", "bad"], output_sequence_length=4)(text)
    return keras.Model(text, [keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(4, 3)(words))])


@pytest.mark.parametrize("kind", [object, str])
def test_texts_stay_with_tensorflow(kind):
    texts, model = np.array(["good bad", "bad", "none of it"], kind), strings()
    forward = engines.choose(model, "auto", texts)
    assert forward.engine == Engine("tensorflow", "float32")
    np.testing.assert_allclose(forward(texts)[0], model(tf.constant(texts)), atol=1e-6)


@pytest.mark.parametrize("name", ["openvino", "onnxruntime"])
def test_a_named_engine_that_cannot_take_the_model(name):
    needs(name)
    with pytest.raises(TlkerasError, match=f"engine {name} cannot compute .* take engine auto"):
        engines.choose(strings(), name, np.array(["good", "bad"]))
    with pytest.raises(TlkerasError, match=f"engine {name}, float32 cannot take this model"):
        engines.make(engines.trace(strings()), Engine(name, "float32"))


def test_a_module_of_tf_hub_stays_with_tensorflow(hub_module):
    image = keras.Input((32, 32, 3))
    model = keras.Model(image, [HubModule(str(hub_module("keras2")))(image)])
    assert engines.choose(model, "auto", PICTURES).engine == Engine("tensorflow", "float32")


def test_a_conversion_is_kept_and_found_again(frozen, tmp_path):
    needs("onnxruntime")
    first = engines.make(engines.trace(frozen), Engine("onnxruntime", "float32"), tmp_path)(PICTURES)
    (kept,) = tmp_path.iterdir()
    written = kept.stat().st_mtime_ns
    second = engines.make(engines.trace(frozen), Engine("onnxruntime", "float32"), tmp_path)(PICTURES)
    assert [*tmp_path.iterdir()] == [kept] and kept.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first[0], second[0])
    whole = kept.stat().st_size
    os.truncate(kept, whole // 2)
    engines.make(engines.trace(frozen), Engine("onnxruntime", "float32"), tmp_path)
    assert kept.stat().st_size > whole // 2


def test_an_output_without_features_is_no_failure():
    image = keras.Input((8, 8, 3))
    model = keras.Model(image, [keras.layers.Conv2D(2, 3, kernel_initializer="zeros")(image)])
    assert engines.choose(model, "tensorflow", PICTURES[:, :8, :8]).parity == engines.Parity(1.0, 0.0)
