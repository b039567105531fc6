"""Workers that meet, each a process of its own, for the tests."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from helpers import REPOSITORY

from tlkeras.cluster.launch import free_ports

_PROGRAM = """
import os, sys, threading, time
from tlkeras.cluster import Cluster, meeting
from tlkeras.errors import TlkerasError
addresses, index, settings, timeout = {arguments!r}
try:
    with meeting.join(Cluster(addresses, index), settings, timeout) as m:
{body}
except TlkerasError as error:
    print(error, flush=True)
    sys.exit(error.exit_code)
"""


def addresses(count: int) -> tuple[str, ...]:
    return tuple(f"127.0.0.1:{port}" for port in free_ports(count))


class Worker:
    """A process that meets the others and then runs `body`, a text of Python, with the meeting `m`."""

    def __init__(self, places, index, body="pass", settings=None, timeout=30.0, path: Path | None = None):
        arguments = (places, index, settings or {}, timeout)
        program = _PROGRAM.format(arguments=arguments, body=textwrap.indent(textwrap.dedent(body), " " * 8))
        search = os.pathsep.join(str(folder) for folder in (path, REPOSITORY) if folder)
        environment = {**os.environ, "PYTHONPATH": search, "TF_CPP_MIN_LOG_LEVEL": "3"}
        command = [sys.executable, "-c", program]
        self.process = subprocess.Popen(
            command, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def end(self) -> tuple[int, str]:
        """Waits for the exit code and what was written."""
        output, _ = self.process.communicate(timeout=120)
        return self.process.returncode, output.strip()


def meet(*bodies: str, **options) -> list[tuple[int, str]]:
    """Runs one worker for each body; gives exit codes and outputs."""
    places = addresses(len(bodies))
    workers = [Worker(places, index, body, **options) for index, body in enumerate(bodies)]
    return [worker.end() for worker in workers]
