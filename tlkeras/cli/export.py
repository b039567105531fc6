"""`tlkeras export`: the model of a run as a SavedModel that was seen to answer as the model does."""

from __future__ import annotations

import click

from tlkeras import consoles
from tlkeras.cli import quiet


@click.command("export", short_help="Write the next numbered SavedModel of a run.")
@click.argument("run")
def command(run):
    """Write the model in the folder RUN as SavedModel RUN/export/N, N the next free number, and check its answers."""
    console = consoles.make()

    with quiet.start():
        from tlkeras.cli import show
        from tlkeras.run import Run

    show.exported(console, Run(run).export())
