"""What an export answers, signature by signature: as the model does, and a bad element leaves its neighbours alone."""

import numpy as np
import pytest
import tensorflow as tf
from helpers import CLASSES, make_tiny_model
from tensorflow.python.framework import op_def_registry

from tlkeras.data import untrusted
from tlkeras.export import parity
from tlkeras.export.serving import Serving, Settings
from tlkeras.metrics import softmax
from tlkeras.unknown import Threshold

TEMPERATURE = 2.5
UNKNOWN = Threshold("max-softmax", 0.188, 0.05)


@pytest.fixture(scope="module")
def saved(tiny_model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "1"
    Serving(tiny_model, Settings(4000, TEMPERATURE, UNKNOWN)).save(folder)
    return folder


@pytest.fixture(scope="module")
def loaded(saved):
    return tf.saved_model.load(str(saved))


@pytest.fixture(scope="module")
def ask(loaded):
    def ask(signature: str, given) -> dict[str, np.ndarray]:
        function = loaded.signatures[signature]
        (name,) = function.structured_input_signature[1]
        return {key: value.numpy() for key, value in function(**{name: tf.constant(given)}).items()}

    return ask


@pytest.fixture(scope="module")
def images(photos) -> list[bytes]:
    return [photo.read_bytes() for photo in photos]


@pytest.fixture(scope="module")
def expected(tiny_model, images) -> np.ndarray:
    return softmax(parity.logits_of(tiny_model, images) / np.float32(TEMPERATURE))


def test_the_best_classes_come_first_and_the_temperature_counts(ask, images, expected):
    answer = ask("serving_default", images)
    assert answer["classes"].shape == answer["scores"].shape == (7, 5)
    np.testing.assert_allclose(answer["scores"], -np.sort(-expected)[:, :5], atol=1e-6)
    assert answer["classes"][:, 0].tolist() == [CLASSES[i].encode() for i in expected.argmax(1)]
    assert answer["error"].tolist() == [b""] * 7
    np.testing.assert_allclose(ask("probabilities", images)["probabilities"], expected, atol=1e-6)


def test_features_are_what_the_last_layer_sees(ask, images, tiny_model, expected):
    features = ask("features", images)["features"]
    logits = tiny_model.get_layer("logits")(features)
    np.testing.assert_allclose(tf.nn.softmax(logits / TEMPERATURE), expected, atol=1e-6)


def test_a_bad_element_leaves_its_neighbours_alone(ask, images):
    answer, good = ask("serving_default", [b"", images[0], b"no image", images[1]]), ask("serving_default", images[:2])
    np.testing.assert_allclose(answer["scores"][[1, 3]], good["scores"], atol=1e-6)
    for name in ("classes", "error", "is_unknown"):
        assert answer[name][[1, 3]].tolist() == good[name].tolist()
    assert answer["error"][[0, 2]].tolist() == [b"empty: zero bytes", untrusted.NO_IMAGE.encode()]
    assert set(answer["classes"][[0, 2]].ravel()) == {b""}
    assert not answer["scores"][[0, 2]].any()
    assert answer["is_unknown"][[0, 2]].all()
    for name in ("probabilities", "features"):
        rows = ask(name, [b"", images[0]])[name]
        assert not rows[0].any()
        assert rows[1].any()


def test_pictures_above_the_limit_are_refused(ask, images):
    large = tf.io.encode_png(np.zeros((50, 100, 3), np.uint8)).numpy()
    errors = ask("serving_default", [large, images[0]])["error"].tolist()
    assert errors == [b"100 x 50 pixels, more than the 4,000 that are decoded", b""]


@pytest.mark.parametrize("signature", ["serving_default", "probabilities", "features", "classify"])
def test_no_inputs_get_no_answers(ask, signature):
    assert all(len(value) == 0 for value in ask(signature, np.zeros(0, "object")).values())


def test_unknown_inputs_are_told_by_the_threshold(ask, images, expected):
    answer = ask("serving_default", images)
    assert answer["is_unknown"].tolist() == (expected.max(1) < UNKNOWN.threshold).tolist()
    assert 0 < answer["is_unknown"].sum() < 7


def test_the_energy_of_the_graph_is_that_of_the_threshold(tiny_model, images):
    logits = parity.logits_of(tiny_model, images)
    chosen = Threshold("energy", float(np.median(np.log(np.exp(logits).sum(1)))) + 1e-4, 0.5)
    answer = Serving(tiny_model, Settings(unknown=chosen, temperature=9.0)).answer(images)
    assert answer["is_unknown"].tolist() == chosen.tell(logits).tolist()


@pytest.mark.parametrize("size", [(32, 32), (61, 40)])
def test_pixels_are_answered_as_the_picture_is(ask, size):
    pixels = np.random.default_rng(0).integers(0, 256, (2, *size, 3), np.uint8)
    files = [tf.io.encode_png(one).numpy() for one in pixels]
    of_files, of_pixels = ask("serving_default", files), ask("pixels", pixels)
    assert set(of_pixels) == {"classes", "scores", "is_unknown"}
    assert (of_files["classes"] == of_pixels["classes"]).all()
    np.testing.assert_allclose(of_files["scores"], of_pixels["scores"], atol=1e-6)


def test_examples_are_classified(ask, images):
    def example(content: bytes) -> bytes:
        feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
        return tf.train.Example(features=tf.train.Features(feature={"image_bytes": feature})).SerializeToString()

    answer = ask("classify", [*map(example, images[:2]), tf.train.Example().SerializeToString()])
    plain = ask("serving_default", images[:2])
    assert set(answer) == {"classes", "scores"}
    assert (answer["classes"][:2] == plain["classes"]).all()
    np.testing.assert_allclose(answer["scores"][:2], plain["scores"], atol=1e-6)
    assert set(answer["classes"][2]) == {b""}


def definition(folder) -> tf.compat.v1.MetaGraphDef:
    from tensorflow.core.protobuf import saved_model_pb2

    return saved_model_pb2.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs[0]


def test_classify_is_a_signature_of_its_method(saved):
    methods = {name: signature.method_name for name, signature in definition(saved).signature_def.items()}
    assert methods.pop("classify") == "tensorflow/serving/classify"
    assert {methods.pop(name) for name in ("serving_default", "probabilities", "features", "pixels")} == {
        "tensorflow/serving/predict"
    }


def test_the_graph_has_core_operations_alone(saved):
    """Those registered by TensorFlow itself: no process of these tests loads other kernels of images."""
    graph = definition(saved).graph_def
    functions = {function.signature.name for function in graph.library.function}
    used = {node.op for node in graph.node} | {
        node.op for function in graph.library.function for node in function.node_def
    }
    used -= functions
    assert len(used) > 50
    assert [op for op in sorted(used) if op_def_registry.get(op) is None] == []
    assert not [op for op in used if ">" in op or "PyFunc" in op]


def test_folded_weights_are_served(tmp_path):
    """BatchNorm away from its initial values, which change nothing: the export answers as the model all the same."""
    model = make_tiny_model(seed=3)
    random = np.random.default_rng(0)
    norm = model.get_layer("normalization")
    norm.set_weights([random.uniform(0.5, 2, 8) for _ in range(4)])
    pixels = random.integers(0, 256, (3, 32, 32, 3), np.uint8)
    files = [tf.io.encode_png(one).numpy() for one in pixels]
    served = Serving(model).answer(files, "probabilities")["probabilities"]
    np.testing.assert_allclose(served, softmax(model.predict(pixels.astype("float32"), verbose=0)), atol=1e-6)
