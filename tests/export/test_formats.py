import json
from pathlib import Path

import keras
import numpy as np
import pytest
from helpers import CLASSES, make_tiny_model

from tlkeras import data as data_room
from tlkeras import heads
from tlkeras.backbones.preprocess import Preprocess
from tlkeras.convert import file_of
from tlkeras.data import images
from tlkeras.errors import TlkerasError
from tlkeras.export import compare, formats, keras_file, on_onnx

NEEDS = {"tflite": ["ai_edge_litert"], "onnx": ["onnxruntime", "tf2onnx"], "keras": []}


def need(format: str) -> None:
    for module in NEEDS[format]:
        pytest.importorskip(module, reason=f"needs {module}, of the extra for {format}")


@pytest.fixture(scope="module")
def colours(photo_folder):
    return data_room.load(photo_folder)


def colour_model(classes, name: str = "colours") -> keras.Model:
    """A model that is always right about blue, green and red."""
    image = keras.Input((32, 32, 3), name="image")
    x = Preprocess({"name": name, "preprocess": "unit"}, name="preprocess")(image)
    model = keras.Model(image, heads.classify(x, classes), name=name)
    model.get_layer("logits").kernel.assign(20 * np.eye(3)[::-1])
    return model


@pytest.mark.parametrize("format", list(formats.SUFFIXES))
def test_a_file_is_measured_beside_the_model(colours, tmp_path, format):
    need(format)
    model, path = colour_model(colours.classes), tmp_path / "a" / f"model{formats.SUFFIXES[format]}"
    made = formats.convert(model, colours, path, format, metadata={"sparsity": 0.0})
    assert [form.name for form in made.forms] == ["model", path.name]
    assert [form.accuracy for form in made.forms] == [1.0, 1.0] and made.same_class == 1.0
    assert made.difference <= 1e-6 and made.count == len(colours.parts["test"])
    assert made.forms[-1].bytes == path.stat().st_size
    about = json.loads(path.with_suffix(".json").read_text())
    assert (about["classes"], about["format"], about["image_size"]) == (["blue", "green", "red"], format, [32, 32])
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.json", path.name]


def test_the_difference_is_taken_on_the_same_pixels(colours):
    def mean(images):
        return images.mean((1, 2))

    assert compare.difference(mean, compare.in_whole_pixels(mean), colours.parts["test"], (32, 32)) < 1e-4
    assert compare.difference(mean, mean, colours.parts["test"], (32, 32)) == 0
    assert compare.difference(mean, lambda images: mean(images) + 1, colours.parts["test"], (32, 32)) > 0.99


def test_lost_accuracy_writes_nothing_unless_forced(colours, tmp_path):
    model, path = colour_model(colours.classes), tmp_path / "new" / "model.keras"
    spoiled = keras_file.copy(model)
    spoiled.get_layer("logits").bias.assign([100, 0, 0])
    with pytest.raises(compare.TooLossy, match=r"loses 0\.66\d+ of accuracy \(1\.0000 to 0\.33\d+ on 6") as lost:
        formats.convert(spoiled, colours, path, "keras", original=model)
    with pytest.raises(compare.TooLossy):
        formats.convert(spoiled, colours, path, "keras", original=model, max_drop=float("nan"))
    assert [form.name for form in lost.value.forms] == ["model", "pruned", "model.keras"]
    assert not path.parent.exists()
    formats.convert(spoiled, colours, path, "keras", original=model, force=True)
    assert keras.saving.load_model(path).get_layer("logits").classes == colours.classes


class _Killed(BaseException):
    pass


def test_a_file_that_has_its_name_has_been_described(colours, tmp_path, monkeypatch):
    path, before = tmp_path / "model.keras", Path.replace
    (tmp_path / ".unfinished-model.x.keras").touch()

    def killed(aside, target):
        if target == path:
            raise _Killed
        return before(aside, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(_Killed):
        formats.convert(colour_model(colours.classes), colours, path, "keras")
    assert [file.name for file in tmp_path.iterdir()] == ["model.json"]


def test_ranges_of_activations_are_of_the_training_part(colours, tmp_path, monkeypatch):
    need("tflite")
    seen, before = [], formats.lite.convert

    def convert(*arguments, images, **options):
        seen.extend(images())
        return before(*arguments, images=images, **options)

    monkeypatch.setattr(formats.lite, "convert", convert)
    formats.convert(
        colour_model(colours.classes), colours, tmp_path / "a.tflite", "tflite", quantize="int8", max_drop=1.0
    )
    wanted, others = (
        {images.decode_and_resize(example.path.read_bytes(), (32, 32)).numpy().round().tobytes() for example in part}
        for part in (colours.parts["train"], colours.parts["test"])
    )
    assert {image.astype("float32").tobytes() for image in seen} == wanted != others


def test_a_keras_file_leaves_the_optimizer_behind(tiny_model, tmp_path):
    compiled = make_tiny_model()
    compiled.compile("adam", "mse")
    compiled.optimizer.build(compiled.trainable_variables)
    loaded = keras_file.load(keras_file.convert(compiled))
    assert not loaded.compiled
    np.testing.assert_array_equal(loaded.get_layer("logits").kernel, tiny_model.get_layer("logits").kernel)


def test_an_onnx_file_takes_any_number_of_images_and_names_the_classes():
    need("onnx")
    import onnx

    content = on_onnx.convert(make_tiny_model())
    made = onnx.load_from_string(content)
    about = {entry.key: entry.value for entry in made.metadata_props}
    assert json.loads(about["classes"]) == about["labels"].splitlines() == CLASSES
    assert about["Image.BitmapPixelFormat"] == "Rgb8"
    answer = on_onnx.runner(content, 1)
    assert [answer(np.zeros((n, 32, 32, 3), np.uint8)).shape for n in (1, 5)] == [(1, 7), (5, 7)]


@pytest.mark.parametrize(
    ("format", "quantize", "message"),
    [
        ("tfjs", "none", "unknown format.*Legal: tflite, onnx, keras"),
        ("tflite", "int4", "unknown quantization.*Did you mean 'int8'"),
        ("onnx", "int8", "quantize 'int8' is for the format tflite"),
    ],
)
def test_what_does_not_fit_is_refused(tiny_model, format, quantize, message):
    with pytest.raises(TlkerasError, match=message):
        formats.check_fits(tiny_model, format, quantize)


@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_model_of_texts_is_refused_in_one_line(format):
    model = make_tiny_model()
    model.get_layer("preprocess").card["task"] = "text"
    with pytest.raises(
        TlkerasError, match=f"^format {format} has no operations for the tokenizer.*savedmodel and keras"
    ):
        formats.check_fits(model, format)


def test_each_kind_has_a_file_of_its_own():
    names = [
        file_of(Path("run"), *kind).as_posix() for kind in (("onnx",), ("tflite", "int8"), ("keras", "none", 0.125))
    ]
    assert names == [
        "run/export-onnx/model.onnx",
        "run/export-tflite/model-int8.tflite",
        "run/export-keras/model-sparse12_5.keras",
    ]
