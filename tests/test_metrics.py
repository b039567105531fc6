import numpy as np
import pytest
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from tlkeras import metrics


def answers(count: int, classes: int, seed: int = 0):
    """Logits of a classifier that is often right, and the labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 2
    return logits, labels


def test_values_are_those_of_scikit_learn():
    logits, labels = answers(300, 8)
    found, probabilities = metrics.headlines(logits, labels), metrics.softmax(logits)
    assert found["accuracy"].value == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert found["macro_f1"].value == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    assert found["top5"].value == pytest.approx(top_k_accuracy_score(labels, logits, k=5))
    assert found["loss"].value == pytest.approx(log_loss(labels, probabilities), rel=1e-5)


def test_macro_f1_leaves_out_classes_that_never_occur_as_scikit_learn_does():
    logits, labels = answers(20, 4)
    logits = np.concatenate([logits, np.full((20, 3), -9, np.float32)], axis=1)
    found = metrics.headlines(logits, labels)["macro_f1"]
    assert found.value == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))


def test_intervals_are_those_of_a_plain_bootstrap():
    logits, labels = answers(120, 3)
    predicted, rng = logits.argmax(1), np.random.default_rng(7)
    draws = [rng.integers(0, 120, 120) for _ in range(1000)]
    plain = {
        "accuracy": [accuracy_score(labels[d], predicted[d]) for d in draws],
        "macro_f1": [f1_score(labels[d], predicted[d], average="macro") for d in draws],
    }
    found = metrics.headlines(logits, labels)
    for name, values in plain.items():
        assert (found[name].low, found[name].high) == pytest.approx(np.percentile(values, [2.5, 97.5]), abs=0.02)


def test_the_interval_of_an_accuracy_is_that_of_the_binomial():
    labels = np.zeros(400, int)
    logits = np.where(np.arange(400)[:, None] < 320, [2.0, 0.0], [0.0, 2.0]).astype(np.float32)
    found = metrics.headlines(logits, labels)["accuracy"]
    half = 1.96 * np.sqrt(0.8 * 0.2 / 400)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.8 - half, 0.8 + half), abs=0.006)


def test_the_same_seed_gives_the_same_interval_however_many_are_drawn_at_once(monkeypatch):
    logits, labels = answers(50, 6)
    found = metrics.headlines(logits, labels, seed=3)
    monkeypatch.setattr(metrics, "_CHUNK", 500)
    assert metrics.headlines(logits, labels, seed=3) == found
    assert metrics.headlines(logits, labels, seed=4) != found


def test_top5_only_above_five_classes():
    assert "top5" not in metrics.headlines(*answers(20, 5))
    assert "top5" in metrics.headlines(*answers(20, 6))


def test_a_model_that_ranks_nothing_earns_no_top5():
    logits, labels = np.zeros((10, 6), np.float32), np.zeros(10, int)
    assert metrics.headlines(logits, labels)["top5"].value == 0


def test_a_sure_mistake_costs_no_infinity():
    found = metrics.headlines(np.array([[1e4, -1e4]], np.float32), np.array([1]))
    assert found["loss"].value == pytest.approx(2e4)


def test_each_class_is_scored_as_by_scikit_learn():
    random = np.random.default_rng(0)
    # The last class is neither there nor predicted, the one before never there.
    labels, predicted = random.integers(0, 5, 200), random.integers(0, 6, 200)
    confusion = metrics.confusion(labels, predicted, 7)
    np.testing.assert_array_equal(confusion, confusion_matrix(labels, predicted, labels=range(7)))
    expected = precision_recall_fscore_support(labels, predicted, labels=range(7), zero_division=0)
    for ours, theirs in zip(metrics.per_class(confusion), expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-15)
