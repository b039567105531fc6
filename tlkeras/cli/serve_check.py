"""`tlkeras serve-check`: the proof that an export serves, one line a check."""

from __future__ import annotations

import collections

import click

from tlkeras import consoles
from tlkeras.cli import kinds, quiet


@click.command("serve-check", short_help="Prove that an export serves.")
@click.argument("export", type=kinds.PLACE)
@click.argument("files", nargs=-1, type=kinds.PLACE)
def command(export, files):
    """Check EXPORT: a version, the folder of the versions (the newest) or a run.

    Its golden requests are answered in Python and in TensorFlow's C library without Python, and compared with what the
    model said at export. FILES, images or folders of them, must be answered alike by both. Without a C compiler that
    half is skipped. Exit code 1 where a check failed, 2 where there is nothing to check.
    """
    console = consoles.make()
    with quiet.start():
        from tlkeras.export.serve_check import require, serve_check

    def printed(checks):
        counts = collections.Counter()
        for check in checks:
            console.print(f"{check.status:8} {check.name:24} {check.detail}")
            counts[check.status] += 1
            yield check
        console.print(f"{counts.total()} checks: {', '.join(f'{count} {status}' for status, count in counts.items())}")

    with consoles.no_native_standard_error():
        require(printed(serve_check(export, files)))
