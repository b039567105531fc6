import json

import numpy as np
import pytest
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tlkeras.errors import TlkerasError
from tlkeras.export import golden, warmup
from tlkeras.export.messages import signature_of
from tlkeras.unknown import Threshold


def written(folder, **changes):
    values = {
        "requests": [b"\xff\x00", b"bad"],
        "logits": np.log(np.array([[0.1, 0.7, 0.2], [1, 2, 3]], np.float32)),
        "features": np.array([[1.5, -2], [0, 0]], np.float32),
        "errors": ["", "no image"],
        "classes": ["a", "b", "c"],
        "top_k": 2,
        "is_text": False,
    }
    golden.write(folder, **values | changes)
    return folder / golden.FILE


def test_what_is_written_is_read(tmp_path):
    written(tmp_path, unknown=Threshold("max-softmax", 0.6, 0.05))
    found = golden.read(tmp_path)
    assert found.requests == [b"\xff\x00", b"bad"] and not found.is_text
    assert found.classes == [["b", "c"], ["", ""]] and found.errors == ["", "no image"]
    assert found.is_unknown.tolist() == [False, True]
    np.testing.assert_allclose(found.scores, [[0.7, 0.2], [0, 0]], rtol=1e-6)
    np.testing.assert_array_equal(found.logits, np.log(np.array([[0.1, 0.7, 0.2], [1, 1, 1]], np.float32)))
    np.testing.assert_array_equal(found.features, np.array([[1.5, -2], [0, 0]], np.float32))
    np.testing.assert_allclose(found.probabilities, [[0.1, 0.7, 0.2], [0, 0, 0]], rtol=1e-6)
    written(tmp_path, unknown=Threshold("max-softmax", 0.6, 0.05), temperature=3.0)
    assert golden.read(tmp_path).is_unknown.tolist() == [True, True]


def test_texts_are_plain_in_the_file(tmp_path):
    path = written(tmp_path, requests=["gut ü".encode(), b"\xff"], errors=["", ""], is_text=True)
    assert json.loads(path.read_text())["requests"][0] == {"text": "gut ü"}
    assert golden.read(tmp_path).requests == ["gut ü".encode(), b"\xff"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('"tolerance"', '"t"', "'tolerance' is missing"),
        ("0.0001", "-1", "a tolerance of -1"),
        ("0.0001", "1", "a tolerance of 1"),
        ('"/wA="', '"/w"', "not base64"),
        ("-0.356674939", '"x"', "could not convert"),
        ("-0.356674939", "NaN", "are not numbers"),
        ('"features"', '"f"', "'features' is missing"),
        ('"no image"', "3", "3 is no text"),
        ('"error": ""', '"error": "bad"', "no request that the model answered"),
        ("{", "", "Expecting|Extra"),
        ('"requests": [', '"requests": [{"image_bytes": ""},', "3 requests and 2 answers"),
    ],
)
def test_a_damaged_file_is_one_line(tmp_path, old, new, why):
    path = written(tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(TlkerasError, match=rf"golden\.json is damaged: .*({why})"):
        golden.read(tmp_path)


def test_a_missing_file_is_one_line(tmp_path):
    with pytest.raises(TlkerasError, match=r"golden\.json cannot be read: No such file"):
        golden.read(tmp_path)


@pytest.mark.parametrize(("is_text", "count"), [(False, 7), (True, 6)])
def test_the_warm_up_file_asks_for_all(tmp_path, is_text, count):
    warmup.write(tmp_path, b"example", is_text, None if is_text else (8, 6))
    logs = [PredictionLog.FromString(record) for record in warmup.read(tmp_path)]
    assert len(logs) == count and logs[-1].HasField("classify_log")
    wanted = ["serving_default"] * 3 + ["probabilities", "features", *(() if is_text else ("pixels",)), "classify"]
    assert [signature_of(log) for log in logs] == wanted
    name = "text" if is_text else "image_bytes"
    assert [len(log.predict_log.request.inputs[name].string_val) for log in logs[:3]] == [1, 8, 32]


def test_a_damaged_record_is_one_line(tmp_path):
    warmup.write(tmp_path, b"example", True, None)
    path = tmp_path / warmup.FILE
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(TlkerasError, match="tf_serving_warmup_requests is damaged after 5 records"):
        list(warmup.read(tmp_path))
