"""The terminal: one console for all output, one kind of table, and a bar for long work.

Pipes, logs and `NO_COLOR` get plain text.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING

# Loaded where it is used: most commands need none of it to say what they have to say.
if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Columns of a pipe or a log: more than any table has.
_UNCUT = 1000


def make() -> Console:
    """Makes a console on standard output that shows text as it is, and tables uncut where there is no terminal."""
    from rich.console import Console

    width = None if sys.stdout.isatty() else _UNCUT
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)


def beside() -> Console:
    """Makes a console on standard error, for what goes on while the output goes to a file or another program."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False, soft_wrap=True)


def visible(name: str) -> str:
    """Gives a name on one line: what a terminal does not show as it is, is written as Python writes it."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name)


def table(*headings: str, words: Collection[str] = ()) -> Table:
    """Makes a table without lines: words on the left of the first column and of those named, numbers on the right."""
    from rich.table import Table

    made = Table(box=None, pad_edge=False, header_style="bold")
    for index, heading in enumerate(headings):
        made.add_column(heading, justify="left" if index == 0 or heading in words else "right", no_wrap=True)
    return made


@contextlib.contextmanager
def bar(console: Console, text: str) -> Iterator[Callable[..., None]]:
    """Shows a bar while the block runs, on a terminal only; it is gone afterwards.

    Yields:
        A function `(done, total, note="")` that moves the bar.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(
        *columns, TextColumn("{task.fields[note]}"), console=console, transient=True, disable=not console.is_terminal
    )
    task = progress.add_task(text, total=None, note="")
    with progress:
        yield lambda done, total, note="": progress.update(task, completed=done, total=total, note=note)


def shows_everything() -> bool:
    """Says whether the chatter of libraries is wanted: `--debug` leaves TensorFlow's log level at 0."""
    return os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0"


@contextlib.contextmanager
def no_native_standard_error() -> Iterator[None]:
    """Keeps off the terminal what libraries in C write to standard error, and nothing of what Python writes.

    libjpeg says a line of its own about a damaged file, without its name. `--debug` shows it.
    """
    with contextlib.ExitStack() as stack:
        if sys.stderr is sys.__stderr__ and sys.stderr is not None:
            how = {"encoding": sys.stderr.encoding, "errors": sys.stderr.errors}
            kept = stack.enter_context(os.fdopen(os.dup(2), "w", 1, **how))
            stack.enter_context(contextlib.redirect_stderr(kept))
        stack.enter_context(no_standard_error())
        yield


@contextlib.contextmanager
def no_standard_error() -> Iterator[None]:
    """Keeps off the terminal what anything in this process writes to standard error; `--debug` shows everything."""
    if shows_everything():
        yield
        return
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
