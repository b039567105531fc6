"""`tlkeras export`: the model of a run as a SavedModel or in another format, seen to answer as the model does."""

from __future__ import annotations

from collections.abc import Collection

import click

from tlkeras import consoles
from tlkeras.cli import kinds, quiet

# Those of tlkeras.export, which is not loaded before it is clear what is wanted.
FORMATS = ("savedmodel", "tflite", "onnx", "keras")
QUANTIZATIONS = ("none", "float16", "dynamic", "int8")


@click.command("export", short_help="Write the next numbered SavedModel of a run, or a file for other runtimes.")
@click.argument("run", type=kinds.PLACE)
@click.option("--calibrate", is_flag=True, help="Make scores as high as they are often right, by the validation part.")
@click.option(
    "--unknown",
    type=click.Choice(["energy", "max-softmax"]),
    help="Tell inputs that are none of the classes, by this score.",
)
@click.option(
    "--false-alarm-rate",
    type=kinds.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="With --unknown: share of the validation part that is taken for unknown: 0.05 where not given.",
)
@click.option(
    "--outliers", type=kinds.PLACE, metavar="PATH", help="With --unknown: images (texts) of no class, to judge it by."
)
@click.option("--max-pixels", type=click.IntRange(1), help="The most pixels of a served picture [default: 64,000,000].")
@click.option("--keep", type=click.IntRange(1), help="Leave so many versions, the newest; remove the others.")
@click.option("--print-serving", is_flag=True, help="Then print what TensorFlow Serving is started with, and asked.")
@click.option(
    "--format",
    "format",
    type=click.Choice(FORMATS),
    default="savedmodel",
    show_default=True,
    help="Of what is written.",
)
@click.option(
    "--quantize",
    type=click.Choice(QUANTIZATIONS),
    default="none",
    show_default=True,
    help="Smaller numbers, for tflite.",
)
@click.option(
    "--sparsity",
    type=kinds.FloatRange(0, 1, max_open=True),
    default=0.0,
    metavar="SHARE",
    help="Share of the weights to prune first, 0 to below 1.",
)
@click.option(
    "--max-drop",
    type=kinds.FloatRange(0, 1),
    metavar="SHARE",
    help="Accuracy that quantizing and pruning may cost: 0.01 where not given.",
)
@click.option("--force", is_flag=True, help="Write it even if it costs more accuracy.")
def command(run, format, quantize, sparsity, max_drop, force, print_serving, **served):
    """Write the model in the folder RUN as SavedModel RUN/export/N, N the next free number, and check its answers.

    In another format it is one file in RUN/export-FORMAT, checked and measured on the test part beside the model.
    """
    served = {name: value for name, value in served.items() if value}
    _check(format, quantize, bool(sparsity), force or max_drop is not None, served, print_serving)
    console = consoles.make()
    # The files alone go to standard output, so that they can be kept.
    console.stderr = print_serving

    with quiet.start():
        from tlkeras.cli import show, show_conversion
        from tlkeras.run import Run

    opened, losses = Run(run), {"max_drop": 0.01 if max_drop is None else max_drop, "force": force}
    if format != "savedmodel":
        show_conversion.convert(console, opened, format, quantize=quantize, sparsity=sparsity, **losses)
        return
    if sparsity:
        served["pruned"] = show_conversion.prune(console, opened, sparsity, **losses)
    exported = opened.export(console=console, **served)
    show.exported(console, exported)
    show.doubt(console, exported.figures)
    if print_serving:
        from tlkeras.export import serving_files

        example = serving_files.example_of(opened.data.parts["test"])
        click.echo(serving_files.render(exported.path, example, opened.folder.path.absolute().name), nl=False)


def _check(
    format: str, quantize: str, is_pruned: bool, is_bounded: bool, served: Collection[str], print_serving: bool
) -> None:
    """Refuses options that do not go together."""
    if quantize != "none" and format != "tflite":
        raise click.UsageError(f"--quantize {quantize} goes with --format tflite. Received: --format {format}")
    if format == "savedmodel" and not is_pruned and is_bounded:
        raise click.UsageError("--max-drop and --force go with --sparsity, or with another format than savedmodel")
    given = [f"--{name.replace('_', '-')}" for name in served] + ["--print-serving"] * print_serving
    if format != "savedmodel" and given:
        raise click.UsageError(f"{', '.join(given)}: for a SavedModel only. Received: --format {format}")
    if "unknown" not in served and (lone := {"outliers", "false_alarm_rate"} & {*served}):
        raise click.UsageError(f"--{min(lone).replace('_', '-')} goes with --unknown")
