import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tlkeras.features import solver


def problem(classes, count=400, seed=0):
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes, count)
    centres = random.normal(0, 1, (classes, 20)) + 5
    return (centres[labels] + random.normal(0, 1, (count, 20))).astype("float32"), labels


@pytest.mark.parametrize("classes", [2, 5])
def test_the_solution_is_that_of_the_chosen_penalty(classes):
    (train, labels), validation = problem(classes), problem(classes, 100, 0)
    solution = solver.solve(train, labels, validation)
    assert solution.kernel.shape == (20, classes) and solution.kernel.dtype == np.float32
    centred = train - train.mean(0)
    scaled = centred / np.sqrt((centred**2).sum(1).mean())
    # Of two classes scikit-learn has one kernel, the difference, which counts twice as much.
    strength = solution.strength * (2 if classes == 2 else 1)
    reference = LogisticRegression(C=strength, tol=1e-8, max_iter=5000).fit(scaled, labels)
    logits = train @ solution.kernel + solution.bias
    probabilities = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(probabilities, reference.predict_proba(scaled), atol=1e-2)


def test_the_penalty_is_chosen_on_the_validation_part():
    train, labels = problem(3, 60)
    good = solver.solve(train, labels, (train, labels))
    bad = solver.solve(train, labels, (train, np.random.default_rng(2).permutation(labels)))
    assert bad.strength < good.strength
    assert min(good.tried.values()) == good.tried[good.strength]


def test_class_weights_matter():
    train, labels = problem(2)
    plain = solver.solve(train, labels, (train, labels))
    weighed = solver.solve(train, labels, (train, labels), {0: 1.0, 1: 50.0})
    assert (weighed.kernel != plain.kernel).any()


def test_figures():
    solution = solver.Solution(np.eye(2, dtype="float32"), np.zeros(2, "float32"), 1.0, {})
    accuracy, loss = solution.figures(np.array([[1.0, 0.0], [1.0, 0.0]], "float32"), np.array([0, 1]))
    assert accuracy == 0.5
    assert loss == pytest.approx(np.mean([np.log(1 + np.exp(-1)), np.log(1 + np.exp(1))]))
