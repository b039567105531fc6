"""`tlkeras predict`: what a model says of some files."""

from __future__ import annotations

import json
import sys

import click

from tlkeras import consoles
from tlkeras.cli import quiet


@click.command("predict", short_help="Name the classes of image files.")
@click.argument("target", metavar="RUN_OR_EXPORT")
@click.argument("files", nargs=-1, required=True)
@click.option("--top-k", default=3, show_default=True, type=click.IntRange(1), help="Classes to name for each file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
def command(target, files, top_k, as_json):
    """Name the classes of FILES, images or folders of images, with a run or an export."""
    with quiet.start():
        from tlkeras.predict import predict

    console, failed = consoles.make(), 0
    for prediction in predict(target, files, top_k=top_k):
        failed += prediction.error is not None
        if as_json:
            click.echo(json.dumps(prediction.to_dict(), ensure_ascii=False))
        elif prediction.error is None:
            answers = "  ".join(f"{n} {s:.3f}" for n, s in zip(prediction.classes, prediction.scores, strict=True))
            console.print(f"{prediction.file}  {answers}")
        else:
            click.echo(f"{prediction.file}  not answered: {prediction.error}", err=True)
    if failed:
        sys.exit(2)
