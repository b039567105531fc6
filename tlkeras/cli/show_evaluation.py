"""An evaluation on the terminal: tables with colour where there is a terminal, plain text where there is none."""

from __future__ import annotations

from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tlkeras.evaluate import Evaluation

TITLES = {"accuracy": "accuracy", "top5": "top-5 accuracy", "macro_f1": "macro F1", "loss": "loss"}
_WIDEST_MATRIX = 20


def show(evaluation: Evaluation, console: Console) -> None:
    """Prints the headline numbers with their intervals, the scores of each class, and what was confused with what."""
    console.print(_headlines(evaluation))
    console.print(_per_class(evaluation))
    if len(evaluation.classes) <= _WIDEST_MATRIX:
        # Lines that are cut or wrapped would make a matrix unreadable in a log.
        console.print(_matrix(evaluation), soft_wrap=True)
    elif evaluation.most_confused():
        console.print(_pairs(evaluation))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    table.add_column(columns[0], overflow="fold")
    for column in columns[1:]:
        table.add_column(column, justify="right")
    return table


def _headlines(evaluation: Evaluation) -> Table:
    table = _table(f"{evaluation.count:,} examples, {len(evaluation.classes)} classes", "", "value", "95 % interval")
    for name, estimate in evaluation.headlines.items():
        style = "bold green" if name == "accuracy" else None
        interval = f"{estimate.low:.4f} to {estimate.high:.4f}"
        table.add_row(TITLES[name], f"{estimate.value:.4f}", interval, style=style)
    return table


def _per_class(evaluation: Evaluation) -> Table:
    table = _table("Classes", "class", "precision", "recall", "F1", "support")
    for scores in evaluation.per_class:
        numbers = [f"{value:.3f}" for value in (scores.precision, scores.recall, scores.f1)]
        table.add_row(Text(scores.name), *numbers, str(scores.support))
    return table


def _matrix(evaluation: Evaluation) -> Text:
    """The confusion matrix as text, dots for zeros. Numbers stand for names that are too long to head a column."""
    names, numbers = evaluation.classes, [str(i) for i in range(1, len(evaluation.classes) + 1)]
    margin = max(map(cell_len, names))
    headings = names if margin <= 3 else numbers
    width = max(4, len(str(evaluation.confusion.max())) + 1)
    rows = [f" {number:>2}" if headings is numbers else "" for number in numbers]

    text = Text()
    text.append("Confusion: rows are true, columns predicted\n", style="bold")
    text.append(
        " " * (margin + len(rows[0])) + "".join(" " * (width - cell_len(h)) + h for h in headings) + "\n", style="dim"
    )
    for t, name in enumerate(names):
        text.append(set_cell_size(name, margin)).append(rows[t], style="dim")
        for p, times in enumerate(evaluation.confusion[t]):
            style = "green" if t == p else "red" if times else "dim"
            text.append(f"{times or '·':>{width}}", style=style)
        text.append("\n")
    text.rstrip()
    return text


def _pairs(evaluation: Evaluation) -> Table:
    table = _table("Most confused", "true", "taken for", "times")
    for true, predicted, times in evaluation.most_confused():
        table.add_row(Text(true), Text(predicted), str(times))
    return table
