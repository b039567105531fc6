import base64
import json
import shutil
import zlib

import numpy as np
import pytest
import stand_in
import tensorflow as tf
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tlkeras import asked
from tlkeras.cli import main
from tlkeras.errors import TlkerasError
from tlkeras.export import asked_files, contract, golden, warmup
from tlkeras.export.checks import FAILED, OK, SKIPPED, Check, ServeCheckError, require
from tlkeras.export.contract import LABELS, MODEL_JSON
from tlkeras.export.serve_check import find_version, serve_check
from tlkeras.unknown import Threshold


def outcomes(export, *files, latency=False) -> dict[str, Check]:
    return {check.name: check for check in serve_check(export, files, latency=latency)}


def failed(export) -> dict[str, str]:
    return {name: check.detail for name, check in outcomes(export).items() if check.status == FAILED}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    (folder / "a.bmp").write_bytes(stand_in.bmp(stand_in.IMAGES[1]))
    (folder / "b.bmp").write_bytes(b"no image")
    return folder


def test_an_export_passes(proven, program, files):
    found = outcomes(proven, files, latency=True)
    assert {check.status for check in found.values()} == {OK}
    runtimes = ["load", "warm-up file", "batch 1", "batch 7", "batch 32", "features", "classify", "pixels"]
    runtimes.append("max_pixels")
    both = [f"{runtime}, {what}" for runtime in ("python", "C runtime") for what in runtimes]
    first = ["layout", "signatures", "settings", "ops", "golden requests", "warm-up file"]
    assert list(found) == [*first, *both, "latency", "files"]
    assert found["files"].detail.startswith("1 answered in Python and C alike")
    assert found["files"].detail.endswith(f"not answered: {files / 'b.bmp'} (no image)")


def test_files_none_of_which_is_answered_prove_nothing(proven, files):
    found = outcomes(proven, files / "b.bmp")["files"]
    assert found == Check("files", FAILED, f"no file is answered: {files / 'b.bmp'} (no image)")


def test_large_files_are_asked_about_in_smaller_batches(proven, files, tmp_path, monkeypatch):
    monkeypatch.setattr(asked, "MAX_BYTES", 1000)
    monkeypatch.setattr(asked_files, "_MOST_BYTES", 300)
    (tmp_path / "huge.bmp").write_bytes(bytes(1001))
    golden_request, about = stand_in.bmp(stand_in.IMAGES[1]), contract.read_about(proven)
    sizes = []

    def ask(log):
        sizes.append(log.predict_log.request.inputs["image_bytes"].tensor_shape.dim[0].size)
        return {"scores": np.zeros((sizes[-1], 1)), "classes": np.full((sizes[-1], 1), b"ant", object)}

    for name in "abcd":
        (tmp_path / f"{name}.bmp").write_bytes(golden_request)
    told = asked_files.check(asked_files.expand([tmp_path]), about, ask, None)
    assert (
        told
        == f"4 answered in Python alone; not answered: {tmp_path / 'huge.bmp'} (absurd size: more than 1,000 bytes)"
    )
    assert len(golden_request) == 134 and sizes == [2, 2]


def test_without_a_compiler_half_is_skipped(proven, tmp_path, no_compiler, files):
    no_compiler(tmp_path)
    found = outcomes(proven, files / "a.bmp")
    skipped = {name for name, check in found.items() if check.status == SKIPPED}
    assert skipped == {name for name in found if name.startswith("C runtime")}
    assert found["C runtime, batch 7"].detail == "needs the export in the C runtime, see above"
    assert "there is no C compiler" in found["C runtime, load"].detail
    assert found["files"].detail == "1 answered in Python alone"
    assert require(found.values())


def saved_with(**changes):
    """Writes another graph over that of an export."""
    return lambda export: stand_in.write_graph(export, **changes)


def without_signature(export):
    """Python finds it all the same: it looks elsewhere."""
    path = export / "saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    del saved.meta_graphs[0].signature_def["features"]
    path.write_bytes(saved.SerializeToString())


def with_other_op(export):
    path = export / "saved_model.pb"
    saved = SavedModel.FromString(path.read_bytes())
    saved.meta_graphs[0].graph_def.node.add(name="x", op="PyFunc")
    path.write_bytes(saved.SerializeToString())


def with_damaged_record(export):
    with tf.io.TFRecordWriter(str(export / warmup.FILE)) as file:
        file.write(b"\xff\xff no PredictionLog")


def edited(name, change):
    def damage(export):
        path = export / name
        path.write_bytes(change(path.read_bytes()))

    return damage


def model_says(key, value):
    def change(content):
        found = json.loads(content)
        inner = found["serving"] if key in ("max_pixels", "temperature", "unknown") else found
        inner[key] = value
        return json.dumps(found).encode()

    return edited(MODEL_JSON, change)


def golden_says(key, value, number=1):
    def change(content):
        found = json.loads(content)
        found["answers"][number][key] = value
        return json.dumps(found).encode()

    return edited(golden.FILE, change)


def without_bad(export):
    path = export / golden.FILE
    found = json.loads(path.read_text())
    path.write_text(json.dumps(found | {"requests": found["requests"][1:], "answers": found["answers"][1:]}))


def asked_for_a_bomb(export):
    """A picture of so many pixels that Pillow does not open it."""
    path = export / golden.FILE
    found = json.loads(path.read_text())
    header = b"IHDR" + (20_000).to_bytes(4) * 2 + b"\x08\x02\0\0\0"
    picture = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4)
    found["requests"][1]["image_bytes"] = base64.b64encode(picture).decode()
    path.write_text(json.dumps(found))


CLASSES = ["bee", "ant", "cat", "dog", "eel", "fox", "gnu"]
SABOTAGE = {
    "a weight": (saved_with(bias=0.01), {"python, batch 1", "C runtime, batch 1", "C runtime, classify"}),
    "the order of labels": (saved_with(classes=CLASSES), {"layout", "python, batch 7", "C runtime, batch 32"}),
    "labels.txt": (edited(LABELS, lambda text: text[::-1]), {"layout"}),
    "a record": (with_damaged_record, {"warm-up file"}),
    "half the warm-up file": (edited(warmup.FILE, lambda content: content[: len(content) // 2]), {"warm-up file"}),
    "a signature": (without_signature, {"signatures", "C runtime, warm-up file", "C runtime, features"}),
    "an op": (with_other_op, {"ops"}),
    "golden.json": (edited(golden.FILE, lambda content: content[:50]), {"golden requests"}),
    "a golden answer": (golden_says("classes", ["ant"] * 5), {"golden requests"}),
    "golden features": (golden_says("features", [0.5, 0.5, 0.6]), {"python, features", "C runtime, features"}),
    "a golden picture": (asked_for_a_bomb, {"python, batch 1", "C runtime, batch 1"}),
    "a golden error": (golden_says("error", "none such"), {"golden requests"}),
    "the words of an error": (golden_says("error", "all is well", 0), {"python, batch 1", "C runtime, batch 1"}),
    "model.json": (edited(MODEL_JSON, lambda content: b"{}"), {"layout"}),
    "no object in model.json": (edited(MODEL_JSON, lambda content: b"[]"), {"layout"}),
    "the task": (model_says("task", "text"), {"layout"}),
    "what it needs": (model_says("needs", ["antigravity"]), {"layout"}),
    "the task of the card": (model_says("card", {"task": "text"}), {"layout"}),
    "the card": (model_says("card", "x"), {"layout"}),
    "the size": (model_says("image_size", [0, 0]), {"layout"}),
    "the temperature": (model_says("temperature", "x"), {"layout"}),
    "another temperature": (model_says("temperature", 3.0), {"settings", "golden requests"}),
    "a temperature that is near": (model_says("temperature", 1.0001), {"settings"}),
    "a temperature that is none": (model_says("temperature", True), {"layout"}),
    "the errors": (saved_with(tells=False), {"python, batch 1", "C runtime, batch 1"}),
    "the threshold": (saved_with(threshold=-1.0), {"python, batch 1", "C runtime, batch 1"}),
    "a threshold that is near": (saved_with(threshold=0.301), {"settings"}),
    "no threshold": (model_says("unknown", None), {"signatures", "settings", "golden requests"}),
    "another threshold": (model_says("unknown", {"score": "max-softmax", "threshold": 9}), {"layout"}),
    "a threshold of model.json": (model_says("unknown", vars(Threshold("max-softmax", 9, 0.1))), {"golden requests"}),
    "no undecodable request": (without_bad, {"golden requests"}),
    "the time": (model_says("created", "soon"), {"layout"}),
    "the versions": (model_says("versions", {}), {"layout"}),
    "no max_pixels": (model_says("max_pixels", None), {"layout"}),
    "higher max_pixels": (model_says("max_pixels", 1001), {"python, max_pixels", "C runtime, max_pixels"}),
    "max_pixels": (model_says("max_pixels", 999), {"python, max_pixels", "C runtime, max_pixels"}),
    "the metrics": (edited(MODEL_JSON, lambda content: content.replace(b'"metrics"', b'"m"')), {"layout"}),
    "fingerprint.pb": (edited("fingerprint.pb", lambda content: content[:-1]), {"layout"}),
    "saved_model.pb": (
        edited("saved_model.pb", lambda content: content[:99]),
        {"signatures", "python, load", "C runtime, load"},
    ),
    "variables": (
        edited("variables/variables.data-00000-of-00001", lambda content: content[:99]),
        {"python, load", "C runtime, load"},
    ),
}


@pytest.mark.parametrize("what", SABOTAGE)
def test_sabotage_is_seen(copied, program, what):
    damage, lines = SABOTAGE[what]
    damage(copied)
    found = failed(copied)
    assert found.keys() >= lines
    assert all(detail and "\n" not in detail for detail in found.values())


def test_the_version_is_found(proven, tmp_path):
    assert find_version(proven.parent) == proven
    shutil.copytree(proven.parent, tmp_path / "run" / "export")
    assert find_version(tmp_path / "run") == tmp_path / "run" / "export" / "1"
    with pytest.raises(TlkerasError, match="nothing to check: give an export"):
        find_version(tmp_path)


def test_failures_are_counted():
    checks = [Check("a", OK, ""), Check("b", FAILED, "why"), Check("c", SKIPPED, "")]
    with pytest.raises(ServeCheckError, match="1 of 3 checks failed, the export is not fit to serve; b: why") as raised:
        require(checks)
    assert raised.value.exit_code == 1


def test_the_command_prints_a_line_for_each_check(copied, capsys, no_compiler, tmp_path):
    no_compiler(tmp_path)
    with_damaged_record(copied)
    with pytest.raises(SystemExit) as left:
        main(["serve-check", str(copied)])
    printed = capsys.readouterr()
    assert left.value.code == 1
    assert "FAILED   warm-up file             record 1 of assets.extra" in printed.out
    assert printed.out.splitlines()[-1] == "25 checks: 13 ok, 1 FAILED, 11 skipped"
    assert printed.err.startswith("Error: 1 of ") and len(printed.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["nowhere"], [".", "nowhere.jpg"]])
def test_a_wrong_path_is_the_users(arguments, capsys):
    with pytest.raises(SystemExit) as left:
        main(["serve-check", *arguments])
    assert left.value.code == 2 and len(capsys.readouterr().err.splitlines()) == 1
