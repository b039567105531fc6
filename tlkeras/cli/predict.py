"""`tlkeras predict`: what a model says of some files."""

from __future__ import annotations

import json
import sys

import click

from tlkeras import consoles
from tlkeras.cli import quiet


@click.command("predict", short_help="Name the classes of image files or texts.")
@click.argument("target", metavar="RUN_OR_EXPORT")
@click.argument("files", nargs=-1)
@click.option("--text", "texts", metavar="TEXT", multiple=True, help="A text itself; may be given again.")
@click.option("--top-k", default=3, show_default=True, type=click.IntRange(1), help="Classes to name for each file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
def command(target, files, texts, top_k, as_json):
    """Name the classes of FILES, images or folders of images, with a run or an export.

    For a model of texts FILES are .txt files of one text each, or folders of them; - reads standard input, a text a
    line.
    """
    with quiet.start():
        from tlkeras.predict import predict

    texts = [*texts, *(_lines() if "-" in files else ())]
    predictions = predict(target, [file for file in files if file != "-"], top_k=top_k, texts=texts)
    failed = show_json(predictions) if as_json else show_table(predictions)
    if failed:
        sys.exit(2)


def _lines() -> list[str]:
    content = click.get_binary_stream("stdin").read().decode("utf-8", "surrogateescape")
    return [line.removesuffix("\r") for line in content.removesuffix("\n").split("\n")] if content else []


def show_json(predictions) -> int:
    """Prints one object a line as the predictions come, and gives the number of files without an answer."""
    failed = 0
    for prediction in predictions:
        failed += prediction.error is not None
        click.echo(json.dumps(prediction.to_dict(), ensure_ascii=False))
    return failed


def show_table(predictions) -> int:
    """Prints a table with the best classes of each file, and gives the number of files without an answer."""
    table = consoles.table("input", "class", "score", "then", words=("class", "then"))
    table.columns[0].no_wrap, table.columns[0].overflow = False, "fold"
    failed = 0
    for prediction in predictions:
        if prediction.error is not None:
            failed += 1
            table.add_row(_asked(prediction), "", "", f"not answered: {prediction.error}")
            continue
        (best, *others), (score, *scores) = prediction.classes, prediction.scores
        then = "  ".join(f"{name} {value:.3f}" for name, value in zip(others, scores, strict=True))
        table.add_row(_asked(prediction), best, f"{score:.3f}", then)
    consoles.make().print(table)
    return failed


def _asked(prediction) -> str:
    """Gives the file, or the beginning of the text."""
    from tlkeras.data.texts import beginning

    return str(prediction.file) if prediction.file else beginning(prediction.text, 80)
