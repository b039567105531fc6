import io
import json
import math
import resource
import tempfile
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import CLASSES, make_tiny_model
from PIL import ExifTags, Image

from tlkeras import unknown, versions
from tlkeras.data.images import ENOUGH
from tlkeras.errors import TlkerasError
from tlkeras.export import golden, parity, savedmodel, warmup
from tlkeras.metrics import softmax


@pytest.fixture(scope="module")
def exported(tiny_model, photos, tmp_path_factory) -> savedmodel.Exported:
    return savedmodel.export(
        tiny_model, tmp_path_factory.mktemp("export"), photos, metadata={"metrics": {"accuracy": 0.9}}
    )


def test_labels_and_description_lie_beside_the_graph(exported):
    assert (exported.path / "assets" / "labels.txt").read_text().splitlines() == CLASSES
    about = json.loads((exported.path / "assets.extra" / "model.json").read_text())
    assert about["classes"] == CLASSES
    assert about["image_size"] == [32, 32]
    assert about["card"]["name"] == "tiny"
    assert about["metrics"] == {"accuracy": 0.9}
    assert about["serving"] == {"top_k": 5, "max_pixels": 64_000_000, "temperature": 1.0, "unknown": None}
    assert about["parity"]["count"] == 7


def test_the_graph_names_no_folder_of_this_machine(exported):
    content = (exported.path / "saved_model.pb").read_bytes()
    assert str(exported.path.parent).encode() not in content
    assert tempfile.gettempdir().encode() not in content


def test_a_proof_and_a_warm_up_lie_beside_the_graph(exported, tiny_model):
    asked = golden.read(exported.path)
    assert [bool(error) for error in asked.errors] == [False] * 14 + [True]
    expected = softmax(parity.logits_of(tiny_model, asked.requests[:13]))
    np.testing.assert_allclose(asked.probabilities[:13], expected, atol=1e-6)
    assert len(list(warmup.read(exported.path))) == 7


def test_each_way_to_decode_is_proven(exported):
    pictures = [Image.open(io.BytesIO(request)) for request in golden.read(exported.path).requests[-7:-1]]
    assert [picture.format for picture in pictures] == ["PNG", "GIF", "BMP", "JPEG", "JPEG", "JPEG"]
    assert pictures[0].mode == "RGBA" and pictures[3].getexif()[ExifTags.Base.Orientation] == 6
    assert min(pictures[4].size) == 2 * ENOUGH * 32
    with pytest.raises(OSError, match="truncated"):
        pictures[5].load()


def test_the_next_on_both_sides_of_the_threshold_are_asked_for(tiny_model, photos, tmp_path):
    scores = np.sort(unknown.scores(parity.logits_of(tiny_model, [p.read_bytes() for p in photos]), "energy"))
    told = unknown.Threshold("energy", float(scores[2:4].mean()), 0.05)
    settings = savedmodel.Settings(unknown=told, max_pixels=5000)
    found = golden.read(savedmodel.export(tiny_model, tmp_path, photos * 9, settings=settings).path)
    assert {*found.is_unknown[:-7]} == {True, False}
    asked = unknown.scores(found.logits[:-7], "energy")
    assert asked[~found.is_unknown[:-7]].min() <= scores[3] and asked[found.is_unknown[:-7]].max() >= scores[2]
    assert all(math.prod(Image.open(io.BytesIO(request)).size) <= 5000 for request in found.requests[:-1])


def test_libjpeg_says_nothing_of_the_request_that_is_cut_off(tiny_model, photos, tmp_path, capfd):
    savedmodel.export(tiny_model, tmp_path, photos)
    assert "JPEG" not in capfd.readouterr().err


def test_what_is_next_to_a_threshold_is_clear_of_it():
    energies = np.float32([-3, 0.9, 0.9999, 1.0001, 1.2, 5])
    logits = np.stack([energies - 1e-4, np.full(6, -50.0)], axis=1) + np.float32(1e-4)

    def chosen(threshold, most=1):
        told = unknown.Threshold("energy", threshold, 0.05)
        return savedmodel._next_to_bounds(logits, savedmodel.Settings(unknown=told), most)

    assert chosen(1.0) == [0, 4, 1]
    assert set(chosen(1.0, most=2)) == {0, 1, 4, 5}
    assert chosen(-9.0) == [0] and chosen(9.0) == [0, 5]


def test_every_check_of_an_export_is_made(exported):
    skipped = [check.detail for check in exported.checks if check.status != "ok"]
    assert len(exported.checks) > 15
    assert set(skipped) <= {"there is no C compiler (cc, gcc or clang)"}


def test_older_versions_are_removed(tmp_path):
    for number in range(1, 5):
        versions.publish(tmp_path, lambda aside: (aside / "saved_model.pb").write_text("graph"))
        assert versions.prune(tmp_path, 2) == ([number - 2] if number > 2 else [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3", "4"]


def test_at_least_one_version_is_kept(tiny_model, photos, tmp_path):
    with pytest.raises(TlkerasError, match=r"1 or more\. Received: 0"):
        savedmodel.export(tiny_model, tmp_path, photos, keep=0)


def test_a_model_in_mixed_precision_is_served_in_float32(photos, tmp_path):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        found = savedmodel.export(make_tiny_model(["no", "yes"]), tmp_path, photos, proven=False).parity
    finally:
        keras.config.set_dtype_policy("float32")
    assert found.max_difference < 1e-6


def test_what_would_not_be_answered_is_not_exported(tiny_model, photos, tmp_path):
    with pytest.raises(TlkerasError, match=r"does not answer .*a\.jpg: 50 x 40 pixels, more than the 10 that"):
        savedmodel.export(tiny_model, tmp_path, photos, settings=savedmodel.Settings(max_pixels=10), proven=False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TlkerasError, match=r"1 to 2,147,483,647\. Received: 2,147,483,648"):
        savedmodel.Settings(max_pixels=2**31)


@pytest.mark.parametrize("name", ["missing.jpg", "damaged.jpg"])
def test_a_failed_check_publishes_nothing(tiny_model, photos, tmp_path, name):
    (tmp_path / "damaged.jpg").write_bytes(photos[0].read_bytes()[:200])
    with pytest.raises(TlkerasError, match="to check the export with"):
        savedmodel.export(tiny_model, tmp_path / "export", [*photos, tmp_path / name], proven=False)
    assert not (tmp_path / "export").exists()


def test_an_unwritable_output_is_one_line(tiny_model, photos):
    with pytest.raises(
        TlkerasError, match=r"export to .* failed, and nothing of it was kept: .* is a file where a folder"
    ):
        savedmodel.export(tiny_model, photos[0] / "export", photos, proven=False)


def test_a_full_disk_is_one_line_and_leaves_nothing(tiny_model, photos, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    try:
        with pytest.raises(TlkerasError, match=r"nothing of it was kept: .*[Ff]ile too large"):
            savedmodel.export(tiny_model, tmp_path, photos, proven=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_names_of_classes_may_be_anything(photos, tmp_path):
    names = ["Zürich", "a, b", "\U0001f600", "two\nlines"]
    path: Path = savedmodel.export(make_tiny_model(names), tmp_path, photos, proven=False).path
    assert (path / "assets" / "labels.txt").read_text("utf-8").splitlines() == [*names[:3], "two lines"]
    assert json.loads((path / "assets.extra" / "model.json").read_text("utf-8"))["classes"] == names
