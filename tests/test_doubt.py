import dataclasses

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from tlkeras import calibration, doubt, metrics, unknown
from tlkeras.data.dataset import Data, Example
from tlkeras.errors import TlkerasError

CLASSES = ["a", "b", "c"]


def drawn(count: int, seed: int, factor: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Logits, and labels drawn from the probabilities that they mean once divided by `factor`."""
    random = np.random.default_rng(seed)
    logits = random.normal(size=(count, 3)).astype("float32") * 3
    labels = [random.choice(3, p=row / row.sum()) for row in metrics.softmax(logits).astype(float)]
    return logits * np.float32(factor), np.array(labels)


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_is_what_logits_were_multiplied_by(factor):
    logits, labels = drawn(4000, 0, factor)
    assert calibration.fit_temperature(logits, labels) == pytest.approx(factor, rel=0.06)


def test_the_calibration_error_is_the_mean_gap_of_the_bins():
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.8, 0.2], [0.45, 0.55]])
    found = calibration.expected_calibration_error(probabilities, np.array([0, 0, 1, 1]))
    # Too sure in one bin and not sure enough in the other, which in a single bin would cancel.
    assert found == pytest.approx((3 * (0.8 - 2 / 3) + 0.45) / 4)


def test_probabilities_of_1_have_a_bin():
    assert calibration.expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0


@pytest.mark.parametrize("score", unknown.SCORES)
def test_the_threshold_gives_the_false_alarms_that_were_asked_for(score):
    logits, _ = drawn(1000, 1)
    chosen = unknown.choose(unknown.scores(logits, score), score, 0.1)
    assert chosen.tell(logits).mean() == pytest.approx(0.1, abs=0.002)


def test_scores_are_those_of_their_papers():
    logits = np.array([[1000.0, 0.0], [0.0, 0.0]], np.float32)
    assert unknown.scores(logits, "energy").tolist() == pytest.approx([1000, np.log(2)])
    assert unknown.scores(logits, "max-softmax").tolist() == [1, 0.5]
    assert unknown.scores(np.array([[2.0, 0.0]], np.float32), "max-softmax", 2).tolist() == pytest.approx([0.7310586])


@pytest.fixture(scope="module")
def found():
    parts = {part: drawn(500, seed, 2.0) for seed, part in enumerate(("val", "test"))}
    examples = {
        part: [Example(None, f"{part}{i}", CLASSES[label]) for i, label in enumerate(labels)]
        for part, (_, labels) in parts.items()
    }
    strange = [Example(None, f"none{i}", "") for i in range(50)]
    logits = {e.name: row for part in parts for e, row in zip(examples[part], parts[part][0], strict=True)}
    logits |= {e.name: np.full(3, -20, np.float32) for e in strange}
    data = Data("none", None, CLASSES, {"train": [], **examples})
    wanted = doubt.Wanted(calibrate=True, unknown="energy", outliers=strange)
    return doubt.find(wanted, data, lambda examples: np.array([logits[e.name] for e in examples])), parts


def examples(count: int, sha256: str = "") -> list[Example]:
    return [Example(None, str(number), "a", sha256=sha256) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "wanted", "message"),
    [
        (29, doubt.Wanted(calibrate=True), "temperature is fitted on 29 examples, those of the validation part"),
        (19, doubt.Wanted(unknown="energy"), "0.05 of 19 validation examples is less than one"),
        (30, doubt.Wanted(calibrate=True, unknown="energy", outliers=examples(2, "1")), "2 of 2 outliers are among"),
    ],
)
def test_what_says_little_is_warned_of(recwarn, count, wanted, message):
    data = Data("none", None, CLASSES, {"train": examples(1, "1"), "val": examples(count), "test": examples(9)})

    def logits_of(asked):
        return np.tile(np.array([[2, 1, 0]], np.float32), (len(asked), 1))

    doubt.find(wanted, data, logits_of)
    assert [message in str(warning.message) for warning in recwarn] == [True]
    enough = {**data.parts, "val": examples(30)}
    unlike = examples(2, "2") if wanted.outliers else None
    doubt.find(dataclasses.replace(wanted, outliers=unlike), dataclasses.replace(data, parts=enough), logits_of)
    assert len(recwarn) == 1


def test_nothing_is_chosen_on_the_test_part():
    drawn_parts = {"val": drawn(2000, 0, 3.0), "test": drawn(2000, 1, 1.0)}
    parts = {
        part: [Example(None, f"{part} {i}", CLASSES[label]) for i, label in enumerate(labels)]
        for part, (_, labels) in drawn_parts.items()
    }
    logits = {e.name: row for part in parts for e, row in zip(parts[part], drawn_parts[part][0], strict=True)}
    data = Data("none", None, CLASSES, {"train": [], **parts})
    wanted = doubt.Wanted(calibrate=True, unknown="energy", false_alarm_rate=0.2)
    temperature, threshold, _ = doubt.find(wanted, data, lambda part: np.array([logits[e.name] for e in part]))
    assert temperature == pytest.approx(3, rel=0.1)
    assert threshold.threshold == np.quantile(unknown.scores(drawn_parts["val"][0], "energy"), 0.2)


def test_figures_are_of_the_test_part(found):
    (temperature, threshold, figures), parts = found
    logits, labels = parts["test"]
    error = figures["calibration"]["expected_calibration_error"]
    assert temperature == pytest.approx(2, rel=0.2)
    assert error["after"] < error["before"]
    after = calibration.expected_calibration_error(metrics.softmax(logits / np.float32(temperature)), labels)
    assert error["after"] == pytest.approx(after)
    told = figures["unknown"]
    assert told["false_alarms_on_test"] == (unknown.scores(logits, "energy") < threshold.threshold).mean()
    assert told["found"] == 1
    scores = [*unknown.scores(logits, "energy"), *[-18.9] * 50]
    assert told["auroc"] == pytest.approx(roc_auc_score([1] * 500 + [0] * 50, scores))


def test_nothing_wanted_is_nothing_found(found):
    _, parts = found
    examples = [Example(None, str(i), CLASSES[label]) for i, label in enumerate(parts["val"][1])]
    data = Data("none", None, CLASSES, {part: examples for part in ("train", "val", "test")})
    assert doubt.find(doubt.Wanted(), data, lambda _: parts["val"][0]) == (1.0, None, {})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"unknown": "energie"}, "Did you mean 'energy'"),
        ({"unknown": "energy", "false_alarm_rate": 5}, "a share"),
        ({"outliers": []}, "outliers are what `unknown` is judged by"),
    ],
)
def test_a_wrong_setting_is_one_line(settings, message):
    with pytest.raises(TlkerasError, match=message):
        doubt.Wanted(**settings)
