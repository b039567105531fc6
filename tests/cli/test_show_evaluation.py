import io

import numpy as np
from rich.console import Console

from tlkeras.cli.show_evaluation import show
from tlkeras.evaluate import judge


def shown(classes: list[str], terminal: bool = False) -> str:
    labels = np.arange(len(classes))
    logits = np.eye(len(classes), dtype=np.float32)[[1, *labels[1:]]]
    output = io.StringIO()
    console = Console(file=output, force_terminal=terminal, width=80, markup=False, highlight=False, soft_wrap=True)
    show(judge(logits, labels, classes, classes), console)
    return output.getvalue()


def test_a_small_matrix_is_shown_whole():
    lines = [line.split() for line in shown(["ant", "b]ee", "[red]cat"]).splitlines()]
    assert lines[-3:] == [["ant", "1", "·", "1", "·"], ["b]ee", "2", "·", "1", "·"], ["[red]cat", "3", "·", "·", "1"]]
    assert ["accuracy", "0.6667", "0.0000", "to", "1.0000"] in lines
    assert ["b]ee", "0.500", "1.000", "0.667", "1"] in lines


def test_short_names_head_the_columns():
    lines = [line.split() for line in shown(["7", "8"]).splitlines()]
    assert lines[-3:] == [["7", "8"], ["7", "·", "1"], ["8", "·", "1"]]


def test_of_many_classes_the_most_confused_are_shown():
    text = shown([f"class {i}" for i in range(21)])
    assert "Most confused" in text
    assert text.splitlines()[-2].split() == ["class", "0", "class", "1", "1"]
    assert "top-5 accuracy" in text


def test_colour_on_a_terminal_only():
    assert "\x1b" in shown(["a", "b"], terminal=True)
    assert "\x1b" not in shown(["a", "b"])
