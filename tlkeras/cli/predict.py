"""`tlkeras predict`: what a model says of some files."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator

import click

from tlkeras import consoles
from tlkeras.cli import kinds
from tlkeras.errors import TlkerasError

_STDIN = 0


@click.command("predict", short_help="Name the classes of image files or texts.")
@click.argument("arguments", nargs=-1, type=kinds.PLACE, metavar="RUN_OR_EXPORT FILES...")
@click.option("--text", "texts", metavar="TEXT", multiple=True, help="A text itself; may be given again.")
@click.option("--top-k", default=3, show_default=True, type=click.IntRange(1), help="Classes to name for each file.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line instead of a table.")
@click.option("--csv", "as_csv", is_flag=True, help="Comma-separated values with a header (RFC 4180).")
@click.option("--batch-size", default=32, show_default=True, type=click.IntRange(1), help="Files in a request.")
@click.option("--server", metavar="URL", help="Ask a TensorFlow Serving; all arguments are then FILES.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=kinds.FloatRange(0, 86_400, min_open=True),
    help="With --server: how long to wait for an answer, 30 where not given.",
)
def command(arguments, texts, top_k, as_json, as_csv, batch_size, server, timeout):
    """Name the classes of FILES with a run, an export or a .keras file, or with a model on a server.

    FILES are images; folders, which stand for the .jpg, .jpeg, .png, .bmp and .gif files in them; quoted patterns such
    as 'photos/**/*.jpg'; and -, which reads names of files from standard input, one a line. The files of a folder come
    in the order of their names, those of one with more than 10,000 entries in the order of the file system. Memory does
    not grow with their number.

    For a model of texts FILES are .txt files of one text each, or folders of them; - reads a text a line.

    --server takes http://HOST:8501/v1/models/NAME or grpc://HOST:8500/v1/models/NAME, and /versions/N or /labels/LABEL
    after it. A server names as many classes as its model was exported with, 5 as a rule, whatever --top-k says.

    Exit code 2 where a file has no answer, 75 where a server is not there or has no time.
    """
    if timeout is not None and server is None:
        raise click.UsageError(f"--timeout goes with --server. Received: --timeout {timeout:g} alone")
    if as_json and as_csv:
        raise click.UsageError("--json or --csv: answers come in one form. Received: both")
    lines = _lines() if "-" in arguments else ()
    asked = {"top_k": top_k, "batch_size": batch_size, "texts": texts, "lines": lines}
    if server is not None:
        predictions = _from_server(server, arguments, timeout, asked)
    elif not arguments:
        raise click.UsageError("Missing argument 'RUN_OR_EXPORT'.")
    else:
        from tlkeras.cli import quiet

        with quiet.start():
            from tlkeras.predict import predict
        predictions = predict(arguments[0], arguments[1:], **asked)
    from tlkeras.cli import show_predictions

    show = show_predictions.as_json if as_json else show_predictions.as_csv if as_csv else show_predictions.as_table
    with consoles.no_native_standard_error():
        failed = show(predictions)
    if failed:
        sys.exit(2)


def _from_server(server, files, timeout, asked):
    from tlkeras.client.address import parse

    if parse(server).scheme == "grpc":
        from tlkeras.cli import quiet

        # The protocol messages bring TensorFlow.
        with quiet.start():
            import tlkeras.client.rpc  # noqa: F401
    from tlkeras import client

    if not files and not asked["texts"]:
        raise TlkerasError("no files to predict: name image files, folders of them, or texts with --text")
    patience = client.Patience() if timeout is None else client.Patience(timeout=timeout)
    return client.predict(server, files, **asked, patience=patience)


def _lines() -> Iterator[bytes]:
    """Gives the lines of standard input as they come.

    Not from `sys.stdin`: Python cannot end while a thread waits in it.
    """
    begun = []
    while block := _block():
        first, *others = block.split(b"\n")
        begun.append(first)
        for other in others:
            yield b"".join(begun)
            begun = [other]
    if any(begun):
        yield b"".join(begun)


def _block() -> bytes:
    try:
        return os.read(_STDIN, 2**16)
    except OSError as error:
        raise TlkerasError(f"the list on standard input cannot be read: {error.strerror}") from error
