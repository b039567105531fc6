import io
import zipfile

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import CLASSES, make_tiny_model
from hub_modules import SIZE, pictures

import tlkeras
from tlkeras.errors import TlkerasError
from tlkeras.export import lite, on_onnx

pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert, of the extra lite")


def images(count: int = 8) -> np.ndarray:
    return pictures(count).round().astype(np.uint8)


def one_by_one():
    return iter(images()[:, np.newaxis])


def expected(model: keras.Model, temperature: float = 1.0) -> np.ndarray:
    return tf.nn.softmax(model(images().astype("float32"), training=False) / temperature).numpy()


@pytest.fixture(scope="module")
def files(tiny_model):
    return {quantize: lite.convert(tiny_model, quantize, images=one_by_one) for quantize in lite.QUANTIZATIONS}


@pytest.mark.parametrize(
    ("quantize", "tolerance"), [("none", 1e-5), ("float16", 5e-3), ("dynamic", 5e-2), ("int8", 5e-2)]
)
def test_whole_pixels_give_the_models_probabilities(files, tiny_model, quantize, tolerance):
    found = lite.runner(files[quantize], threads=1)(images())
    assert (found.dtype, found.shape) == (np.float32, (8, 7))
    np.testing.assert_allclose(found, expected(tiny_model), atol=tolerance)


def test_int8_computes_in_whole_numbers(files):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=files["int8"])
    floats = [tensor["name"] for tensor in interpreter.get_tensor_details() if tensor["dtype"] == np.float32]
    # The probabilities, as they come out.
    assert len(floats) == 1


def test_the_temperature_is_inside(tiny_model):
    content = lite.convert(tiny_model, images=one_by_one, temperature=3.0)
    np.testing.assert_allclose(lite.runner(content, 1)(images()), expected(tiny_model, 3.0), atol=1e-5)


def test_the_labels_are_an_archive_at_the_end(files):
    for content in files.values():
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.namelist() == ["labels.txt"]
            assert archive.read("labels.txt").decode().splitlines() == CLASSES
            assert archive.infolist()[0].compress_type == zipfile.ZIP_STORED


class Table:
    """Reads a table of a flatbuffer by the numbers of its fields."""

    def __init__(self, buffer: bytes, position: int | None = None):
        if position is None:
            position = flatbuffers.encode.Get(flatbuffers.packer.uoffset, buffer, 0)
        self._table = flatbuffers.table.Table(buffer, position)

    def _place(self, field: int) -> int:
        return self._table.Pos + self._table.Offset(4 + 2 * field)

    def text(self, field: int) -> str:
        return self._table.String(self._place(field)).decode()

    def byte(self, field: int) -> int:
        return self._table.Get(flatbuffers.number_types.Uint8Flags, self._place(field))

    def number(self, field: int) -> int:
        return self._table.Get(flatbuffers.number_types.Uint32Flags, self._place(field))

    def table(self, field: int) -> "Table":
        return Table(self._table.Bytes, self._table.Indirect(self._place(field)))

    def first(self, field: int) -> "Table":
        return Table(self._table.Bytes, self._table.Indirect(self._table.Vector(self._place(field) - self._table.Pos)))

    def floats(self, field: int) -> list[float]:
        return self._table.GetVectorAsNumpy(
            flatbuffers.number_types.Float32Flags, self._place(field) - self._table.Pos
        ).tolist()


def test_the_metadata_is_what_androids_classifier_looks_for(files):
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAs(files["int8"])
    entries = {model.Metadata(i).Name(): model.Metadata(i).Buffer() for i in range(model.MetadataLength())}
    content = model.Buffers(entries[b"TFLITE_METADATA"]).DataAsNumpy().tobytes()
    assert content[4:8] == b"M001"
    about = Table(content)
    assert about.text(0) == "tiny"
    pixels, probabilities = about.first(3).first(2), about.first(3).first(3)
    assert (pixels.text(0), probabilities.text(0)) == ("pixels", "probabilities")
    # An image, in RGB, of the model's size; nothing to normalise.
    assert pixels.table(3).byte(0) == 2
    properties = pixels.table(3).table(1)
    assert properties.byte(0) == 1
    assert (properties.table(1).number(0), properties.table(1).number(1)) == (32, 32)
    assert pixels.first(4).byte(0) == 1
    assert (pixels.first(4).table(1).floats(0), pixels.first(4).table(1).floats(1)) == ([0.0], [1.0])
    # The names on the axis of the scores.
    assert (probabilities.first(6).text(0), probabilities.first(6).byte(2)) == ("labels.txt", 2)


def test_the_same_model_gives_the_same_file(files, tiny_model):
    again = lite.convert(make_tiny_model(), images=one_by_one)
    assert lite.runner(again, 1)(images()).tolist() == lite.runner(files["none"], 1)(images()).tolist()
    assert len(again) == len(files["none"])


@pytest.mark.parametrize("kind", ["momentum", "signature"])
@pytest.mark.parametrize("format", ["tflite", "onnx"])
def test_a_module_of_tf_hub_is_converted(hub_module, kind, format):
    model = tlkeras.build(f"hub:{hub_module(kind)}", classes=CLASSES, image_size=SIZE)
    if format == "tflite":
        answer = lite.runner(lite.convert(model, images=one_by_one), 1)
    else:
        pytest.importorskip("onnxruntime", reason="needs onnxruntime, of the extra onnx")
        pytest.importorskip("tf2onnx", reason="needs tf2onnx, of the extra onnx")
        answer = on_onnx.runner(on_onnx.convert(model), 1)
    np.testing.assert_allclose(answer(images()), expected(model), atol=1e-5)


def test_what_the_converter_has_not_is_one_line():
    image = keras.Input((32, 32, 3))
    x = tlkeras.backbones.preprocess.Preprocess({"name": "odd", "preprocess": "tf"}, name="preprocess")(image)
    x = keras.layers.Lambda(lambda x: tf.math.igammac(tf.abs(x) + 1, tf.abs(x)), output_shape=(32, 32, 3))(x)
    model = keras.Model(image, tlkeras.heads.classify(x, CLASSES), name="odd")
    with pytest.raises(
        TlkerasError, match=r"^TensorFlow Lite cannot take odd: .+ The formats savedmodel and keras can$"
    ):
        lite.convert(model, images=one_by_one)
