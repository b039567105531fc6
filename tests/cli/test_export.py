import pytest
from test_floors import command, loaded_after

REFUSED = [
    (("--format", "onnx", "--quantize", "int8"), "--quantize int8 goes with --format tflite"),
    (("--force",), "--max-drop and --force go with --sparsity"),
    (("--sparsity", "1"), "--sparsity"),
    (("--sparsity", "0.5", "--max-drop", "nan"), "--max-drop': nan is no number"),
    (("--format", "tfjs"), "--format"),
]


@pytest.mark.parametrize(("options", "message"), REFUSED)
def test_options_that_do_not_fit_together_are_one_line(refusal, options, message):
    assert message in refusal("export", "run", *options)


def test_they_are_refused_before_tensorflow_is_loaded():
    assert "tensorflow" not in loaded_after(command("export", "run", *REFUSED[0][0]))
