import json
import resource
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import CLASSES, make_tiny_model

from tlkeras.errors import TlkerasError
from tlkeras.export import savedmodel


@pytest.fixture(scope="module")
def exported(tiny_model, photos, tmp_path_factory) -> savedmodel.Exported:
    return savedmodel.export(tiny_model, tmp_path_factory.mktemp("export"), photos, metadata={"accuracy": 0.9})


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported.path))


def ask(loaded, signature: str, images: list[bytes]) -> dict[str, np.ndarray]:
    answer = loaded.signatures[signature](image_bytes=tf.constant(images, tf.string))
    return {name: value.numpy() for name, value in answer.items()}


def test_the_answers_are_the_models(exported):
    assert exported.parity.count == 7
    assert exported.parity.max_difference < 1e-6
    assert exported.parity.classes_equal


def test_the_best_classes_come_first(loaded, photos):
    images = [path.read_bytes() for path in photos]
    answer, full = ask(loaded, "serving_default", images), ask(loaded, "probabilities", images)["probabilities"]
    assert answer["classes"].shape == answer["scores"].shape == (7, 5)
    assert answer["classes"][:, 0].tolist() == [CLASSES[i].encode() for i in full.argmax(1)]
    np.testing.assert_allclose(answer["scores"], -np.sort(-full)[:, :5], atol=1e-6)


def test_features_are_what_the_last_layer_sees(loaded, photos, tiny_model):
    images = [path.read_bytes() for path in photos]
    features, full = ask(loaded, "features", images)["features"], ask(loaded, "probabilities", images)["probabilities"]
    np.testing.assert_allclose(tf.nn.softmax(tiny_model.get_layer("logits")(features)), full, atol=1e-6)


@pytest.mark.parametrize("signature", ["serving_default", "probabilities", "features"])
def test_no_images_get_no_answers(loaded, signature):
    assert all(len(value) == 0 for value in ask(loaded, signature, []).values())


def test_a_damaged_image_is_refused(loaded, photos):
    with pytest.raises(tf.errors.InvalidArgumentError):
        ask(loaded, "serving_default", [photos[0].read_bytes(), b"no image"])


def test_labels_and_description_lie_beside_the_graph(exported):
    assert (exported.path / "assets" / "labels.txt").read_text().splitlines() == CLASSES
    about = json.loads((exported.path / "assets.extra" / "model.json").read_text())
    assert about["classes"] == CLASSES
    assert about["image_size"] == [32, 32]
    assert about["card"]["name"] == "tiny"
    assert about["metadata"] == {"accuracy": 0.9}
    assert about["parity"]["count"] == 7


def test_the_graph_names_no_folder_of_this_machine(exported):
    content = (exported.path / "saved_model.pb").read_bytes()
    assert str(exported.path.parent).encode() not in content
    assert tempfile.gettempdir().encode() not in content


def test_a_model_in_mixed_precision_is_served_in_float32(photos, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = savedmodel.export(make_tiny_model(["no", "yes"]), tmp_path, photos).parity
    finally:
        keras.config.set_dtype_policy("float32")
    assert found.max_difference < 1e-6


@pytest.mark.parametrize("name", ["missing.jpg", "damaged.jpg"])
def test_a_failed_check_publishes_nothing(tiny_model, photos, tmp_path, name):
    (tmp_path / "damaged.jpg").write_bytes(photos[0].read_bytes()[:200])
    with pytest.raises(TlkerasError, match="to check the export with"):
        savedmodel.export(tiny_model, tmp_path / "export", [*photos, tmp_path / name])
    assert not (tmp_path / "export").exists()


def test_an_unwritable_output_is_one_line(tiny_model, photos):
    with pytest.raises(TlkerasError, match=r"export to .* failed, and nothing of it was kept: Not a directory"):
        savedmodel.export(tiny_model, photos[0] / "export", photos)


def test_a_full_disk_is_one_line_and_leaves_nothing(tiny_model, photos, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(TlkerasError, match=r"nothing of it was kept: .*[Ff]ile too large"):
            savedmodel.export(tiny_model, tmp_path, photos)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_names_of_classes_may_be_anything(photos, tmp_path):
    names = ["Zürich", "a, b", "\U0001f600", "two\nlines"]
    path: Path = savedmodel.export(make_tiny_model(names), tmp_path, photos).path
    assert (path / "assets" / "labels.txt").read_text("utf-8").splitlines() == [*names[:3], "two lines"]
    assert json.loads((path / "assets.extra" / "model.json").read_text("utf-8"))["classes"] == names
