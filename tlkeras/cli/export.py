"""`tlkeras export`: the model of a run as a SavedModel or in another format, seen to answer as the model does."""

from __future__ import annotations

import click

from tlkeras import consoles
from tlkeras.cli import quiet

# Those of tlkeras.export, which is not loaded before it is clear what is wanted.
FORMATS = ("savedmodel", "tflite", "onnx", "keras")
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")


@click.command("export", short_help="Write the next numbered SavedModel of a run, or a file for other runtimes.")
@click.argument("run")
@click.option("--format", "format", type=click.Choice(FORMATS), default="savedmodel", show_default=True)
@click.option(
    "--quantize",
    type=click.Choice(QUANTIZATIONS),
    default="none",
    show_default=True,
    help="Smaller numbers, for tflite.",
)
@click.option(
    "--sparsity",
    type=click.FloatRange(0, 1, max_open=True),
    default=0.0,
    metavar="SHARE",
    help="Weights to prune first.",
)
@click.option(
    "--max-drop",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    help="Accuracy that quantizing and pruning may cost: 0.01 where not given.",
)
@click.option("--force", is_flag=True, help="Write it even if it costs more accuracy.")
def command(run, format, quantize, sparsity, max_drop, force):
    """Write the model in the folder RUN as SavedModel RUN/export/N, N the next free number, and check its answers.

    In another format it is one file in RUN/export-FORMAT, checked and measured on the test part beside the model.
    """
    if quantize != "none" and format != "tflite":
        raise click.UsageError(f"--quantize {quantize} goes with --format tflite. Received: --format {format}")
    if format == "savedmodel" and not sparsity and (force or max_drop is not None):
        raise click.UsageError("--max-drop and --force go with --sparsity, or with another format than savedmodel")
    console = consoles.make()

    with quiet.start():
        from tlkeras.cli import show, show_conversion
        from tlkeras.run import Run

    opened, losses = Run(run), {"max_drop": 0.01 if max_drop is None else max_drop, "force": force}
    if format != "savedmodel":
        show_conversion.convert(console, opened, format, quantize=quantize, sparsity=sparsity, **losses)
        return
    if sparsity:
        opened.model = show_conversion.prune(console, opened, sparsity, **losses)
    show.exported(console, opened.export())
