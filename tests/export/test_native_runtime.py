import subprocess

import numpy as np
import pytest
from stand_in import IMAGES, bmp
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tlkeras.errors import TlkerasError
from tlkeras.export import native_runtime
from tlkeras.export.messages import classify_log, example_of, outputs_of, predict_log
from tlkeras.export.native_process import NativeProcess


@pytest.fixture(scope="module")
def process(proven, program):
    with NativeProcess(proven) as started:
        yield started


@pytest.fixture(scope="module")
def photo() -> bytes:
    return bmp(IMAGES[2])


def log_of(photo, signature="probabilities") -> PredictionLog:
    return predict_log(signature, {"image_bytes": [photo]})


def test_it_compiles_without_a_warning(tmp_path, monkeypatch, program):
    monkeypatch.setenv("CC", "cc -Werror")
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path))
    first = native_runtime.program()
    assert native_runtime.program() == first
    assert [path.name for path in (tmp_path / "native").iterdir()] == [first.name]


@pytest.mark.parametrize("damage", [lambda content: content[: len(content) // 2], lambda content: b""])
def test_a_damaged_program_is_made_again(tmp_path, monkeypatch, program, proven, damage):
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path))
    first = native_runtime.program()
    first.write_bytes(damage(first.read_bytes()))
    with NativeProcess(proven) as started:
        assert started.load_seconds > 0


def test_a_response_is_the_protocols(process, photo):
    reply = process.ask(log_of(photo, ""))
    assert (reply.code, reply.error, reply.response.model_spec.signature_name) == (0, "", "serving_default")
    assert {name: value.shape for name, value in outputs_of(reply.response).items()} == {
        "classes": (1, 5),
        "scores": (1, 5),
        "error": (1,),
        "is_unknown": (1,),
    }
    assert reply.seconds > 0 and reply.resident_kb > 10_000


def test_a_bad_image_leaves_its_neighbours_alone(process, photo):
    found = outputs_of(process.ask(predict_log("serving_default", {"image_bytes": [photo, b"", photo]})).response)
    assert [bool(error) for error in found["error"]] == [False, True, False]
    assert found["scores"][0].tolist() == found["scores"][2].tolist()


@pytest.mark.parametrize("count", [0, 100])
def test_any_number_of_rows(process, photo, count):
    found = outputs_of(process.ask(predict_log("probabilities", {"image_bytes": [photo] * count})).response)
    assert found["probabilities"].shape == (count, 7)


def test_outputs_can_be_filtered(process, photo):
    log = log_of(photo, "serving_default")
    log.predict_log.request.output_filter.append("scores")
    assert list(process.ask(log).response.outputs) == ["scores"]
    log.predict_log.request.output_filter.append("colour")
    assert process.ask(log).error == "there is no output colour"


def test_classify_puts_the_context_before_each_example(process, photo):
    log = PredictionLog()
    request = log.classify_log.request
    request.model_spec.signature_name = "classify"
    examples = request.input.example_list_with_context
    examples.context.CopyFrom(example_of("image_bytes", photo))
    examples.examples.add()
    found = outputs_of(process.ask(log).response)
    plain = outputs_of(process.ask(classify_log("classify", [example_of("image_bytes", photo)])).response)
    assert found["classes"].tolist() == plain["classes"].tolist() and found["classes"][0, 0]


PIXELS = np.arange(2 * 3 * 4 * 3, dtype=np.uint8).reshape(2, 3, 4, 3)


def pixels_log(tensor_from=PIXELS, shape=None, values=(), content=None) -> PredictionLog:
    log = predict_log("pixels", {"pixels": tensor_from})
    tensor = log.predict_log.request.inputs["pixels"]
    if shape is not None:
        del tensor.tensor_shape.dim[:]
        for size in shape:
            tensor.tensor_shape.dim.add(size=size)
    if content is not None or values:
        tensor.tensor_content = content or b""
    tensor.int_val.extend(values)
    return log


def test_all_encodings_of_a_tensor_say_the_same(process):
    plain = outputs_of(process.ask(pixels_log()).response)
    listed = outputs_of(process.ask(pixels_log(values=PIXELS.ravel().tolist())).response)
    assert plain["scores"].tolist() == listed["scores"].tolist()
    filled = outputs_of(process.ask(pixels_log(values=[9])).response)
    assert (
        filled["scores"].tolist()
        == outputs_of(process.ask(pixels_log(np.full_like(PIXELS, 9))).response)["scores"].tolist()
    )


@pytest.mark.parametrize(
    ("shape", "values", "content", "error"),
    [
        ([2**40, 2**40, 2**40, 3], [1], None, "its shape is too large"),
        ([0, 2**62, 2**62, 3], [], b"", "its shape is too large"),
        ([1000, 1000, 1000, 3], [7], None, "it declares 3000000000 values and carries 1"),
        ([-1, 3, 4, 3], [1], None, "its dimension 0 is -1, and 0 or more is legal"),
        ([2, 3, 4, 5], [1], None, "its dimension 3 is 5, and 3 is expected"),
        ([2, 3, 4], [1], None, "it is of rank 3, and rank 4 is expected"),
        ([1] * 300, [1], None, "its rank is above 254"),
        ([9, 9, 9, 3], [], PIXELS.tobytes(), "its content of 72 bytes is not that of 2187 values"),
    ],
)
def test_what_is_declared_and_not_carried_is_refused(process, shape, values, content, error):
    reply = process.ask(pixels_log(shape=shape, values=values, content=content))
    assert (reply.code, reply.error) == (3, f"input pixels: {error}")


def without_inputs(log: PredictionLog) -> PredictionLog:
    log.predict_log.request.inputs.clear()
    return log


@pytest.mark.parametrize(
    ("log", "error"),
    [
        (predict_log("flavours", {"image_bytes": [b""]}), "there is no signature flavours"),
        (predict_log("probabilities", {"text": [b""]}), "there is no input text"),
        (
            predict_log("probabilities", {"image_bytes": np.ones(2, "float32")}),
            "it is of type 1, and type 7 is expected",
        ),
        (without_inputs(predict_log("probabilities", {})), "input image_bytes is missing"),
        (classify_log("classify", []), "there are no examples"),
        (classify_log("probabilities", [example_of("a", b"")]), "signature probabilities is none for Classify"),
        (predict_log("__saved_model_init_op", {}), "is none for Predict"),
        (PredictionLog(), "only a predict_log or a classify_log is answered"),
        (b"\xff" * 40, "the request cannot be parsed"),
        (b"", "only a predict_log or a classify_log is answered"),
    ],
    ids=range(10),
)
def test_a_wrong_request_has_an_error(process, log, error):
    reply = process.ask(log)
    assert reply.code and reply.response is None and error in reply.error


def test_no_bytes_end_it(process, photo):
    """Cut and flipped requests; the slow fuzzing has many more."""
    random = np.random.default_rng(0)
    whole = log_of(b"x" * 50, "serving_default").SerializeToString()
    for _ in range(300):
        damaged = bytearray(whole[: random.integers(len(whole) + 1)])
        for place in random.integers(0, max(len(damaged), 1), 3) if damaged else ():
            damaged[place] = random.integers(256)
        process.ask(bytes(damaged))
    assert process.ask(log_of(photo)).code == 0


def test_sustained_load_is_measured(proven, program, photo):
    figures = native_runtime.sustained_load(proven, [log_of(photo).SerializeToString()], 0.5, 2)
    assert figures["requests"] == figures["rows"] > 0 and figures["refused"] == 0
    assert figures["p50_ms"] <= figures["p99_ms"] and figures["rss_end_kb"] > 0


def test_a_folder_that_is_no_export_is_one_line(tmp_path, program):
    with (
        pytest.raises(TlkerasError, match="the C runtime cannot load the export: Could not find SavedModel"),
        NativeProcess(tmp_path),
    ):
        pass


def test_a_process_that_died_is_one_line(proven, program, photo):
    with NativeProcess(proven) as process:
        process._process.kill()
        with pytest.raises(TlkerasError, match="the C runtime was ended by SIGKILL"):
            process.ask(log_of(photo))


def test_a_process_that_hangs_is_stopped(proven, program, photo):
    with NativeProcess(proven, timeout=60) as process:
        subprocess.run(["kill", "-STOP", str(process._process.pid)], check=True)
        process._timeout = 0.2
        with pytest.raises(TlkerasError, match=r"did not answer within 0\.2 s, and was stopped"):
            process.ask(log_of(photo))


def test_no_compiler_is_one_line(tmp_path, no_compiler):
    no_compiler(tmp_path)
    with pytest.raises(native_runtime.NoRuntime, match=r"there is no C compiler \(CC is no-such-compiler\)"):
        native_runtime.program()


def test_a_failed_compilation_is_one_line(tmp_path, monkeypatch, program):
    monkeypatch.setenv("CC", "cc -DTF_NewStatus=1")
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path))
    with pytest.raises(native_runtime.NoRuntime, match=r"cc cannot compile the C program: .*error") as raised:
        native_runtime.program()
    assert len(str(raised.value).splitlines()) == 1
    assert list((tmp_path / "native").iterdir()) == []
