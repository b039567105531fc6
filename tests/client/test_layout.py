import pytest

from tlkeras.client.address import parse
from tlkeras.client.layout import Layout, answers
from tlkeras.errors import TlkerasError

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


def signature(**changes):
    scores = {"dtype": "DT_FLOAT", "tensor_shape": changes.pop("shape", {"dim": [{"size": "-1"}, {"size": "3"}]})}
    outputs = {"classes": {"dtype": "DT_STRING"}, "scores": scores}
    return {"inputs": {"text": {"dtype": "DT_STRING"}}, "outputs": outputs} | changes


@pytest.mark.parametrize(
    "junk",
    [
        None,
        [],
        "x",
        signature(inputs=["text"]),
        signature(inputs={"text": "DT_STRING"}),
        signature(outputs=None),
        signature(shape=None),
        signature(shape={"dim": None}),
        signature(shape={"dim": [1, 2]}),
        signature(shape={"dim": [{"size": "-1"}, {"size": "abc"}]}),
        signature(shape={"dim": [{"size": "-1"}, {"size": None}]}),
    ],
)
def test_metadata_that_are_none_are_no_fault_of_ours(junk):
    with pytest.raises(
        TlkerasError, match=r"^http://host:8501 does not answer as TensorFlow Serving does: its metadata"
    ):
        Layout.of({"serving_default": junk}, ADDRESS)


@pytest.mark.parametrize(
    ("classes", "scores"),
    [
        ([], []),
        (["a"], [10**400]),
        (["a"], [float("nan")]),
        (["a"], ["1"]),
        ([1], [1]),
        (["a"], [True]),
        (["a"], [7.5]),
        (["a"], [-0.1]),
    ]
    + [(["a", "b"], [0.2, 0.8])],
)
def test_a_row_that_is_none_is_no_fault_of_ours(classes, scores):
    layout = Layout("text", 3, has_error=False, has_unknown=False)
    with pytest.raises(TlkerasError, match="gave a reply of the wrong shape"):
        answers({"classes": [classes], "scores": [scores]}, 1, layout, 2, ADDRESS)
