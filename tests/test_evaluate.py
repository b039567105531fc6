import json

import numpy as np
import pytest
from helpers import CLASSES, make_tiny_model

from tlkeras.data.dataset import Example
from tlkeras.errors import TlkerasError
from tlkeras.evaluate import evaluate, judge


def examples_of(photos, labels=CLASSES) -> list[Example]:
    return [Example(path, path.name, label) for path, label in zip(photos, labels, strict=True)]


@pytest.fixture(scope="module")
def evaluation(tiny_model, photos):
    return evaluate(tiny_model, examples_of(photos), batch_size=3)


def test_labels_that_the_model_gives_are_all_right(tiny_model, photos, evaluation):
    said = [CLASSES[i] for i in evaluation.probabilities.argmax(1)]
    again = evaluate(tiny_model, examples_of(photos, said), batch_size=2)
    assert again.accuracy.value == again.macro_f1.value == again.top5.value == 1
    assert again.loss.value == pytest.approx(-np.log(evaluation.probabilities.max(1)).mean(), rel=1e-5)


def test_everything_is_counted_and_in_order(photos, evaluation):
    assert evaluation.count == evaluation.confusion.sum() == 7
    assert evaluation.names == [path.name for path in photos]
    assert evaluation.labels.tolist() == list(range(7))
    assert [scores.support for scores in evaluation.per_class] == [1] * 7
    np.testing.assert_allclose(evaluation.probabilities.sum(1), 1, rtol=1e-5)


def test_the_dictionary_survives_json(evaluation):
    plain = evaluation.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert plain["accuracy"].keys() == {"value", "low", "high"}
    assert "probabilities" not in plain


def test_most_confused_names_mistakes_only():
    logits = np.eye(3, dtype=np.float32)[[0, 1, 1, 1, 0]]
    judged = judge(logits, np.array([0, 0, 0, 1, 2]), ["a", "b", "c"], list("vwxyz"))
    assert judged.most_confused() == [("a", "b", 2), ("c", "a", 1)]
    assert judged.top5 is None


def test_a_label_that_the_model_does_not_know_is_named(tiny_model, photos):
    with pytest.raises(TlkerasError, match=r"does not know: bat, yak. The model's classes: ant, bee"):
        evaluate(tiny_model, examples_of(photos, ["yak", "bat", *CLASSES[2:]]))


def test_no_examples_is_an_error(tiny_model):
    with pytest.raises(TlkerasError, match="nothing to evaluate"):
        evaluate(tiny_model, [])


def test_a_model_that_diverged_is_not_judged(photos):
    model = make_tiny_model()
    model.get_layer("logits").bias.assign([np.nan] * 7)
    with pytest.raises(TlkerasError, match="NaN or infinity"):
        evaluate(model, examples_of(photos))
