"""`tlkeras evaluate`: how good is the model of a run, on data that it never saw."""

from __future__ import annotations

import click

from tlkeras import consoles
from tlkeras.cli import quiet


@click.command("evaluate", short_help="Judge the model of a run on its test part, or on other data.")
@click.argument("run")
@click.argument("data", required=False)
def command(run, data):
    """Judge the model in the folder RUN on the test part that the run set aside, or on DATA.

    DATA takes the same forms as for `tlkeras train`; of data that comes split, the test part is used.
    """
    console = consoles.make()

    with quiet.start():
        from tlkeras.cli import show_evaluation
        from tlkeras.run import Run

    opened = Run(run)
    show_evaluation.show(opened.evaluate(data, console=console), console)
    console.print(f"written: {opened.folder.metrics_of(data)}")
