from tlkeras.client.address import parse
from tlkeras.client.layout import Layout, answers

ADDRESS = parse("http://host:8501/v1/models/m")


def tensors(**kinds):
    dims = {"dim": [{"size": "-1"}, {"size": "3"}]}
    return {name: {"dtype": kind, "tensor_shape": dims} for name, kind in kinds.items()}


def test_an_export_that_tells_no_errors_is_one_of_ours_too():
    outputs = tensors(classes="DT_STRING", scores="DT_FLOAT")
    layout = Layout.of({"serving_default": {"inputs": tensors(text="DT_STRING"), "outputs": outputs}}, ADDRESS)
    assert layout == Layout("text", 3, has_error=False, has_unknown=False)
    (answer,) = answers({"classes": [["a", "b", "c"]], "scores": [[0.7, 0.2, 0.1]]}, 1, layout, 2, ADDRESS)
    assert answer == (["a", "b"], [0.7, 0.2], "", None)
