"""What a TensorFlow Lite file says of itself: the metadata that Android's ImageClassifier and others look for.

A flatbuffer of the schema `metadata_schema.fbs` of tflite-support lies in a buffer of the model, and the files that it
names follow the model as a zip archive, so that `unzip model.tflite` gives `labels.txt`. No package that can be
installed beside TensorFlow brings that schema; the numbers of fields below are its own, in its order.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence

import flatbuffers
import keras
import numpy as np

import tlkeras
from tlkeras.export.pixels import PIXELS, PROBABILITIES

LABELS = "labels.txt"
_NAME, _IDENTIFIER, _MODEL_IDENTIFIER = b"TFLITE_METADATA", b"M001", b"TFL3"
# The oldest reader of metadata that understands all of it.
_READER = "1.0.0"
_RGB, _IMAGE_PROPERTIES, _FEATURE_PROPERTIES, _NORMALIZATION, _TENSOR_AXIS_LABELS = 1, 2, 1, 1, 2
# The same file for the same model. It is stored as it is: the readers in C++ refuse what is compressed.
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def add(content: bytes, model: keras.Model) -> bytes:
    """Gives a TensorFlow Lite file with labels and metadata: uint8 RGB goes in as it is, a score a class comes out."""
    from ai_edge_litert import schema_py_generated as schema

    read = schema.ModelT.InitFromObj(schema.Model.GetRootAs(content))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(describe(model), np.uint8)
    entry.name, entry.buffer = _NAME, len(read.buffers)
    read.buffers.append(buffer)
    read.metadata = [*(read.metadata or ()), entry]
    builder = flatbuffers.Builder(len(content) + 4096)
    builder.Finish(read.Pack(builder), _MODEL_IDENTIFIER)
    return _with_file(bytes(builder.Output()), LABELS, lines(model.get_layer("logits").classes))


def lines(classes: Sequence[str]) -> bytes:
    """Gives the class names one a line, whatever is in them."""
    return "".join(f"{' '.join(name.splitlines())}\n" for name in classes).encode()


def _with_file(content: bytes, name: str, inside: bytes) -> bytes:
    file = io.BytesIO(content)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), inside)
    return file.getvalue()


def describe(model: keras.Model) -> bytes:
    """Makes the `ModelMetadata` of a model, a flatbuffer."""
    height, width = model.input_shape[1:3]
    card = model.get_layer("preprocess").card
    tables = _Tables()
    size = tables.add((0, "Uint32", width), (1, "Uint32", height))
    image = tables.add((0, "Int8", _RGB), (1, "Offset", size))
    # Normalised inside: what goes in is (x - 0) / 1.
    norm = tables.add((0, "Offset", tables.floats(0.0)), (1, "Offset", tables.floats(1.0)))
    pixels = tables.add(
        (0, "Offset", tables.string(PIXELS)),
        (1, "Offset", tables.string(f"One image, {width} x {height} pixels of RGB, each 0 to 255.")),
        (3, "Offset", tables.add((0, "Uint8", _IMAGE_PROPERTIES), (1, "Offset", image))),
        (4, "Offset", tables.vector(tables.add((0, "Uint8", _NORMALIZATION), (1, "Offset", norm)))),
        (5, "Offset", tables.add((0, "Offset", tables.floats(255.0)), (1, "Offset", tables.floats(0.0)))),
    )
    labels = tables.add(
        (0, "Offset", tables.string(LABELS)),
        (1, "Offset", tables.string("The classes, in the order of the probabilities.")),
        (2, "Int8", _TENSOR_AXIS_LABELS),
    )
    probabilities = tables.add(
        (0, "Offset", tables.string(PROBABILITIES)),
        (1, "Offset", tables.string("How probable each class is; together 1.")),
        (3, "Offset", tables.add((0, "Uint8", _FEATURE_PROPERTIES), (1, "Offset", tables.add()))),
        (5, "Offset", tables.add((0, "Offset", tables.floats(1.0)), (1, "Offset", tables.floats(0.0)))),
        (6, "Offset", tables.vector(labels)),
    )
    graph = tables.add((2, "Offset", tables.vector(pixels)), (3, "Offset", tables.vector(probabilities)))
    return tables.finish(
        (0, "Offset", tables.string(model.name)),
        (1, "Offset", tables.string(f"A classifier made by tlkeras {tlkeras.__version__} from {card.get('name')}.")),
        (3, "Offset", tables.vector(graph)),
        (5, "Offset", tables.string(card.get("license") or "")),
        (7, "Offset", tables.string(_READER)),
    )


class _Tables:
    """Writes tables of a flatbuffer from the inside to the outside."""

    def __init__(self):
        self._builder = flatbuffers.Builder(1024)

    def string(self, text: str) -> int:
        return self._builder.CreateString(text)

    def floats(self, *values: float) -> int:
        return self._builder.CreateNumpyVector(np.array(values, np.float32))

    def vector(self, *tables: int) -> int:
        self._builder.StartVector(4, len(tables), 4)
        for table in reversed(tables):
            self._builder.PrependUOffsetTRelative(table)
        return self._builder.EndVector()

    def add(self, *fields: tuple[int, str, int]) -> int:
        """Writes a table: the number, type and value of each field, and nothing of those that are not given."""
        self._builder.StartObject(max((number for number, *_ in fields), default=-1) + 1)
        for number, kind, value in fields:
            kind = "UOffsetTRelative" if kind == "Offset" else kind
            getattr(self._builder, f"Prepend{kind}Slot")(number, value, 0)
        return self._builder.EndObject()

    def finish(self, *fields: tuple[int, str, int]) -> bytes:
        self._builder.Finish(self.add(*fields), _IDENTIFIER)
        return bytes(self._builder.Output())
