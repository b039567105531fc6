"""`tlkeras export`: the model of a run as a SavedModel that was seen to answer as the model does."""

from __future__ import annotations

import click

from tlkeras import consoles
from tlkeras.cli import quiet


@click.command("export", short_help="Write the next numbered SavedModel of a run.")
@click.argument("run")
@click.option("--calibrate", is_flag=True, help="Make scores as high as they are often right, by the validation part.")
@click.option(
    "--unknown",
    type=click.Choice(["energy", "max-softmax"]),
    help="Tell inputs that are none of the classes, by this score.",
)
@click.option(
    "--false-alarm-rate",
    default=0.05,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="With --unknown: share of the validation part that is taken for unknown.",
)
@click.option("--outliers", metavar="PATH", help="With --unknown: images (texts) of no class, to judge it by.")
@click.option("--max-pixels", type=click.IntRange(1), help="The most pixels of a served picture [default: 64,000,000].")
@click.option("--keep", type=click.IntRange(1), help="Remove older versions but the newest so many.")
@click.option("--print-serving", is_flag=True, help="Then print what TensorFlow Serving is started with, and asked.")
def command(run, print_serving, **options):
    """Write the model in the folder RUN as SavedModel RUN/export/N, N the next free number, and check its answers."""
    console = consoles.make()

    with quiet.start():
        from tlkeras.cli import show
        from tlkeras.run import Run

    given = {name: value for name, value in options.items() if value is not None}
    opened = Run(run)
    # The files alone go to standard output, so that they can be kept.
    console.stderr = print_serving
    exported = opened.export(console=console, **given)
    show.exported(console, exported)
    show.doubt(console, exported.figures)
    if print_serving:
        from tlkeras.export import serving_files

        example = serving_files.example_of(opened.data.parts["test"])
        click.echo(serving_files.render(exported.path, example, opened.folder.path.absolute().name), nl=False)
