"""The command line: a group that loads a command's file when the command is used."""

from __future__ import annotations

import errno
import os
import sys
import time
import warnings

import click

from tlkeras import __version__
from tlkeras.cli.lazy import LazyGroup
from tlkeras.errors import TlkerasError, TlkerasWarning, in_one_line

# Since when the process runs, but for Python's own start.
BEGUN = time.monotonic()
# Letters of what nobody foresaw, which may hold a whole model.
_LONGEST = 500
# What a shell says of a program that was ended by SIGPIPE.
_BROKEN_PIPE = 141
_NAMES = ("train", "evaluate", "predict", "export", "serve-check", "zoo", "cache")
_COMMANDS = {name: f"tlkeras.cli.{name.replace('-', '_')}:command" for name in _NAMES}


@click.group(
    cls=LazyGroup, homes=_COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(__version__, prog_name="tlkeras")
@click.option("--debug", is_flag=True, help="Show a traceback when something fails.")
def group(debug: bool) -> None:
    """Transfer learning on Keras 3: photos in, a served classifier out.

    Start with:  tlkeras train photos/ --output runs/first
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; leaves with 2 after a user's mistake, 75 to try again, 1 after one of ours."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    if not debug:
        sys.excepthook = _one_line
    warnings.formatwarning = _formatted
    # TensorFlow's C++ side logs its start-up to standard error; what matters is raised as an exception anyway.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "0" if debug else "3")
    _open_closed()
    stdout = sys.stdout
    # File names need not be text that the terminal's encoding has.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")
    try:
        group.main([argument for argument in arguments if argument != "--debug"], "tlkeras", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        _fail(f"interrupted{_resuming(arguments)}", 130)
    except click.ClickException as error:
        _fail(error.format_message(), 2)
    except SystemExit as left:
        # Whoever read the output has gone, as `| head` does: click then leaves with 1 and other streams, rich with 1.
        if left.code == 1 and (sys.stdout is not stdout or isinstance(left.__context__, BrokenPipeError)):
            sys.exit(_BROKEN_PIPE)
        raise
    except (TlkerasError, OSError) as error:
        if debug:
            import traceback

            traceback.print_exc()
        _fail(_worded(error, arguments), getattr(error, "exit_code", 2))


def _open_closed() -> None:
    """Opens what whoever started this has closed: what is printed there is lost, and no file of ours gets its place."""
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            if nowhere != number:
                os.dup2(nowhere, number)
            setattr(sys, name, os.fdopen(number, "w", closefd=False))


def _worded(error: TlkerasError | OSError, arguments: list[str]) -> str:
    if isinstance(error, TlkerasError):
        return str(error)
    if error.errno == errno.ENOSPC:
        where = f" ({error.filename})" if error.filename else ""
        return f"no space left on the device{where}; make room and try again{_resuming(arguments)}"
    return f"{error.strerror}: {error.filename}" if error.filename else str(error)


def _resuming(arguments: list[str]) -> str:
    command = next((argument for argument in arguments if not argument.startswith("-")), "")
    return "; a run continues with --resume" if command == "train" else ""


def _fail(message: str, code: int) -> None:
    from tlkeras import consoles

    # Names of files, and what servers say, may hold anything.
    click.echo("Error: " + "\n".join(map(consoles.visible, message.splitlines())), err=True)
    sys.exit(code)


def _formatted(message, category, *place, with_place=warnings.formatwarning) -> str:
    return f"warning: {message}\n" if category is TlkerasWarning else with_place(message, category, *place)


def _one_line(kind: type[BaseException], error: BaseException, trace) -> None:
    """Words what nobody foresaw; Python then leaves with exit code 1."""
    what = f"{kind.__name__}: {in_one_line(error)[:_LONGEST]}"
    click.echo(f"Error: unexpected {what}\nThis is a fault of tlkeras; --debug shows where.", err=True)
