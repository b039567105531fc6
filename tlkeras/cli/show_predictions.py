"""Predictions on standard output as they come: a table, JSON or comma-separated values."""

from __future__ import annotations

import csv
import json
import sys
import time
from collections.abc import Iterable, Iterator

import click

from tlkeras import consoles
from tlkeras.errors import TlkerasError
from tlkeras.predictions import Prediction, Predictions
from tlkeras.text_files import beginning

_BLOCK = 200
# Seconds after which a block is printed with what it has.
_PATIENCE = 1.0
_WIDEST = 60


def as_json(predictions: Predictions) -> int:
    """Prints one object a line, and gives the number of files without an answer."""
    failed = 0
    for prediction in _counted(predictions):
        failed += prediction.error is not None
        click.echo(json.dumps(prediction.to_dict(), ensure_ascii=False))
    return failed


def as_csv(predictions: Predictions) -> int:
    """Prints a header and one row each: input, error, is_unknown (of models that tell), class1, score1, class2, …

    Gives the number of files without an answer.
    """
    told = ["is_unknown"] if predictions.has_unknown else []
    pairs = [f"{name}{number}" for number in range(1, predictions.top_k + 1) for name in ("class", "score")]
    writer = csv.DictWriter(sys.stdout, ["input", "error", *told, *pairs], restval="", lineterminator="\r\n")
    writer.writeheader()
    failed = 0
    for prediction in _counted(predictions):
        failed += prediction.error is not None
        row = {"input": prediction.text if prediction.file is None else prediction.file, "error": prediction.error}
        if told:
            row["is_unknown"] = str(prediction.is_unknown).lower()
        for number, (name, score) in enumerate(zip(prediction.classes, prediction.scores, strict=True), start=1):
            row |= {f"class{number}": name, f"score{number}": f"{score:.6g}"}
        writer.writerow(row)
    sys.stdout.flush()
    return failed


def as_table(predictions: Predictions) -> int:
    """Prints a table with the best classes of each file, in blocks, and gives the number of files without an answer."""
    failed, widths = 0, None
    for block in _blocks(_counted(predictions)):
        failed += sum(prediction.error is not None for prediction in block)
        widths = _print_block([_row(prediction) for prediction in block], widths)
    return failed


def _print_block(rows: list[tuple[str, ...]], before: list[int] | None) -> list[int]:
    """Prints rows below those of earlier blocks, and gives the widths of the columns."""
    from rich.cells import cell_len

    table = consoles.table("input", "class", "score", "then", words=("class", "then"))
    table.show_header = before is None
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    columns = zip(*rows, strict=True)
    widths = [max(map(cell_len, cells)) for cells in columns]
    widths = [max(*pair) for pair in zip(widths, before or [len("input"), len("class"), len("score"), 0], strict=True)]
    # The last column has nothing to the right of it.
    for column, width in zip(table.columns[:-1], widths[:-1], strict=True):
        column.min_width = min(width, _WIDEST)
    for row in rows:
        table.add_row(*row)
    consoles.make().print(table)
    return widths


def _row(prediction: Prediction) -> tuple[str, str, str, str]:
    asked = beginning(prediction.text, 80) if prediction.file is None else consoles.visible(str(prediction.file))
    if prediction.error is not None:
        return asked, "", "", f"not answered: {consoles.visible(prediction.error)}"
    # Of a server, too, that may say anything.
    classes = list(map(consoles.visible, prediction.classes))
    named = [f"{name} {score:.3f}" for name, score in zip(classes, prediction.scores, strict=True)]
    if prediction.is_unknown:
        return asked, "unknown", "", f"nearest: {'  '.join(named)}"
    return asked, classes[0], f"{prediction.scores[0]:.3f}", "  ".join(named[1:])


def _blocks(predictions: Iterable[Prediction]) -> Iterator[list[Prediction]]:
    block, since = [], 0.0
    try:
        for prediction in predictions:
            # The first may take long: a model that is asked for the first time, a list that is typed.
            since = since if block else time.monotonic()
            block.append(prediction)
            if len(block) == _BLOCK or time.monotonic() - since > _PATIENCE:
                yield block
                block = []
    except TlkerasError:
        # What was answered is shown before the one line of what went wrong.
        if block:
            yield block
        raise
    if block:
        yield block


def _counted(predictions: Predictions) -> Iterator[Prediction]:
    """Gives the same, and shows how many there are where the output goes elsewhere than to the terminal."""
    console = consoles.beside()
    if not console.is_terminal or sys.stdout.isatty():
        yield from predictions
        return
    with consoles.bar(console, "predicting") as move:
        for done, prediction in enumerate(predictions, start=1):
            move(done, None)
            yield prediction
