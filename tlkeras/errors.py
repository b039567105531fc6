"""The one exception for a user's mistake, and the wording shared by everything that looks a name up."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from pathlib import Path

# Names of nodes and operations.
_OF_GRAPHS = re.compile(r"\[\[\{\{.*?\}\}\]\]|\{\{\w*node .*?\}\}|\[Op:.*?\](?: name: .*)?")


class TlkerasError(Exception):
    """A mistake in what the user gave: a value, a file, a folder.

    The message is one or two lines: what is wrong, what is legal, what to do. The command line prints it without a
    traceback and leaves with `exit_code`.
    """

    exit_code = 2


class TryAgain(TlkerasError):
    """Nothing is wrong with what the user gave: a worker went away or did not come, or this process was told to leave.

    The same command, started again for all workers with --resume, goes on; and likewise, once a server that was asked
    for predictions is there and has time again. The exit code is EX_TEMPFAIL of sysexits.h,
    "the user is invited to retry", which schedulers can tell from a mistake.
    """

    exit_code = 75


class TlkerasWarning(UserWarning):
    """What the user should know and is no mistake: one line, which the command line prints as it is."""


def unknown_name(kind: str, received: str, legal: Iterable[str]) -> TlkerasError:
    """Words the error for a name that is not among the legal ones: the nearest of them first, then all.

    >>> str(unknown_name("pooling", "maxx", ["avg", "max"]))
    "unknown pooling. Did you mean 'max'? Legal: avg, max. Received: 'maxx'"
    """
    legal = [str(name) for name in legal]
    nearest = difflib.get_close_matches(str(received), legal, n=1, cutoff=0.5)
    hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
    return TlkerasError(f"unknown {kind}.{hint} Legal: {', '.join(legal)}. Received: {str(received)!r}")


def os_reason(error: OSError) -> str:
    """Words why a file or folder could not be written, and names what stood in the way."""
    place = error.filename2 or error.filename
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        what = "a link that leads nowhere" if Path(place).is_symlink() and not Path(place).exists() else "a file"
        return f"{place} is {what} where a folder should be"
    return f"{error.strerror or error}{f': {place}' if place else ''}"


def mistake_in(error: BaseException | None) -> TlkerasError | None:
    """Finds the user's mistake that an error was raised of, if it was: Keras words anew what layers raise."""
    while error is not None and not isinstance(error, TlkerasError):
        error = error.__cause__ or error.__context__
    return error


def in_one_line(error: Exception) -> str:
    """Gives the one line of an error's text that is meant for the user, or what kind of error it is."""
    return first_line(getattr(error, "message", str(error))) or type(error).__name__


def first_line(text: str) -> str:
    """Gives the one line of a message that is meant for the user; TensorFlow adds others for its developers.

    >>> first_line("{{node ReadFile}} /a.png; No such file or directory [Op:ReadFile]")
    '/a.png; No such file or directory'
    """
    lines = [line.strip() for line in _OF_GRAPHS.sub("", text).splitlines() if line.strip()] or [""]
    # Of an error inside a graph the trace comes first.
    return lines[-1] if lines[0].startswith("Graph execution error") else lines[0]
