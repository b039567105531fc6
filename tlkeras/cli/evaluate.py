"""`tlkeras evaluate`: how good is the model of a run, on data that it never saw."""

from __future__ import annotations

import click

from tlkeras import consoles
from tlkeras.cli import kinds, quiet


@click.command("evaluate", short_help="Judge the model of a run on its test part, or on other data.")
@click.argument("run", type=kinds.PLACE)
@click.argument("data", required=False, type=kinds.PLACE)
@click.option("--path-column", metavar="TEXT", help="Column of a CSV that holds the image's path.")
@click.option("--text-column", metavar="TEXT", help="Column of a table that holds the text.")
@click.option("--label-column", metavar="TEXT", help="Column of a table that holds the class.")
@click.option("--data-dir", metavar="TEXT", help="Where tensorflow_datasets keeps its data.")
@click.option("--download", is_flag=True, default=None, help="Let tensorflow_datasets download what is not there.")
def command(run, data, **options):
    """Judge the model in the folder RUN on the test part that the run set aside, or on DATA.

    DATA takes the same forms as for `tlkeras train`; of data that comes split, the test part is used. What its options
    leave open is as in the run.
    """
    console = consoles.make()

    with quiet.start():
        from tlkeras.cli import show_evaluation
        from tlkeras.run import Run

    given = {key: value for key, value in options.items() if value is not None}
    opened = Run(run)
    show_evaluation.show(opened.evaluate(data, console=console, **given), console)
    console.print(f"written: {opened.folder.metrics_of(data)}")
