"""The table of the benchmark against peers says what the lines of measurements say."""

import sys

import pytest
from helpers import REPOSITORY

sys.path.append(str(REPOSITORY / "benchmarks"))

import peers_table
import ways


def row(workload: str, way: str, number: int, seconds: float, accuracy: float = 0.95, peak_mb: int = 1000) -> dict:
    figures = {"seconds": seconds, "cpu_seconds": 2 * seconds, "accuracy": accuracy, "peak_mb": peak_mb}
    return {"workload": workload, "way": way, "round": number, **figures}


PROBE = [
    *(row("probe", "keras-no-xla", number, seconds) for number, seconds in enumerate((100, 200, 90))),
    *(row("probe", "tlkeras-openvino", number, seconds) for number, seconds in enumerate((10, 10, 5))),
]


def test_ratios_are_those_within_a_round():
    assert peers_table.times_faster(PROBE, "probe", "tlkeras-openvino", "keras-no-xla") == 18
    assert peers_table.times_faster(PROBE[2:4], "probe", "tlkeras-openvino", "keras-no-xla") == 9
    assert peers_table.times_faster(PROBE[:3], "probe", "tlkeras-openvino", "keras-no-xla") is None


def test_the_table_has_medians():
    lines = peers_table.table(PROBE).splitlines()
    assert "| Keras tutorial, XLA switched off | 100.0 s (3) | 200.0 s | 1.0 | 0.9500 | 1.00 GB |" in lines
    assert "| tlkeras, OpenVINO | 10.0 s (3) | 20.0 s | 18.0 | 0.9500 | 1.00 GB |" in lines
    assert lines[-1].endswith("18.0 times faster than keras-no-xla (goal 12), accuracy +0.0000: reached")


def test_who_keeps_nothing_pays_again():
    rows = [*PROBE, row("again", "tlkeras-auto", 0, 4)]
    assert peers_table.times_faster(rows, "again", "tlkeras-auto", "keras-no-xla") == 25
    assert peers_table.times_faster(rows, "again", "tlkeras-openvino", "keras-no-xla") is None


@pytest.mark.parametrize(
    "measured",
    [{"seconds": 13}, {"seconds": 10, "accuracy": 0.93}, {"seconds": 10, "peak_mb": 1500}],
    ids=["slow", "wrong", "large"],
)
def test_a_goal_is_missed_by_time_accuracy_or_memory(measured):
    rows = [row("cifar", "keras-no-xla", 0, 100), row("cifar", "tlkeras-auto", 0, **measured)]
    assert peers_table.table(rows).endswith("NOT reached")


def test_the_goals_name_what_is_measured():
    for goal in peers_table.GOALS:
        for way in (goal.way, goal.other):
            base = ways.WORKLOADS[goal.workload].base or goal.workload
            assert {goal.workload, base} & set(ways.WAYS[way].workloads)


@pytest.mark.parametrize(
    ("printed", "accuracy"),
    [
        ("\ntest accuracy 0.9625 (0.9302 to 0.9801)\n\nresults in run\n", 0.9625),
        ("epoch 1 accuracy 0.5\naccuracy 0.9583\n", 0.9583),
        ('{"file": "a/x.jpg", "classes": ["a"]}\n{"file": "b/y.jpg", "classes": ["a", "b"]}\n', 0.5),
    ],
)
def test_the_accuracy_is_found_in_what_is_printed(printed, accuracy):
    assert ways.accuracy(printed) == accuracy


def test_no_accuracy_is_an_error():
    with pytest.raises(ValueError, match="no accuracy"):
        ways.accuracy("epoch 1 of 10\n")
