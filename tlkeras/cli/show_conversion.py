"""A model in another format, or pruned, on the terminal: a table of it and of the original, also when refused."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from tlkeras import consoles
from tlkeras.convert import convert as convert_run
from tlkeras.convert import prune as prune_run
from tlkeras.export.compare import THREADS, Figures, TooLossy
from tlkeras.export.formats import Converted
from tlkeras.run import Run


def convert(console: Console, run: Run, format: str, **options) -> None:
    """Converts the model of a run and prints what came of it; `options` as of `tlkeras.convert.convert`."""
    try:
        converted = convert_run(run, format, console=console, **options)
    except TooLossy as error:
        console.print(table(error.forms))
        raise
    console.print(table(converted.forms))
    console.print(_in_words(converted))
    console.print(f"\nwritten: {converted.path}")


def prune(console: Console, run: Run, sparsity: float, **options) -> dict:
    """Prunes the model of an opened run, prints what it cost, and gives its figures; `options` of `convert.prune`."""
    try:
        pruned = prune_run(run, sparsity, console=console, **options)
    except TooLossy as error:
        console.print(table(error.forms))
        raise
    console.print(table(pruned.forms))
    run.model = pruned.model
    return {"sparsity": sparsity, "zeros": pruned.zeros[1], "accuracy": pruned.forms[-1].accuracy}


def table(forms: list[Figures]) -> Table:
    """Makes a table of the original, of what was made of it, and of how the last compares with the first."""
    first, last = forms[0], forms[-1]
    is_timed = first.seconds is not None
    made = consoles.table("", "size", "gzip", "accuracy", *["ms an input", "on one thread"] * is_timed)
    for form in forms:
        sizes = f"{form.bytes / 1e6:.2f} MB", f"{form.compressed / 1e6:.2f} MB"
        times = [f"{1000 * seconds:.1f}" for seconds in (form.seconds, form.seconds_on_one) if seconds is not None]
        made.add_row(form.name, *sizes, f"{form.accuracy:.4f}", *times)
    made.add_section()
    sizes = f"x {last.bytes / first.bytes:.2f}", f"x {last.compressed / first.compressed:.2f}"
    ratio = [f"x {last.seconds / first.seconds:.2f}"] if is_timed else []
    made.add_row("", *sizes, f"{last.accuracy - first.accuracy:+.4f}", *ratio)
    return made


def _in_words(converted: Converted) -> str:
    threads = f"{THREADS} thread{'s' if THREADS > 1 else ''}"
    return (
        f"\non {converted.count} test examples: the same class as the model for {converted.same_class:.1%}; the "
        f"largest difference of a probability {converted.difference:.1e}\n"
        f"ms an input: median, the model in TensorFlow and the file by turns, each on {threads}"
    )
