"""Real processes that train together: one program for each worker, with TF_CONFIG on free ports."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack


def free_ports(count):
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def environments(count):
    """Makes the environment of each of `count` workers; that of one alone names no cluster."""
    ours = {name: value for name, value in os.environ.items() if name != "TF_CONFIG" and not name.startswith("SLURM_")}
    ours |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "2"}
    if count == 1:
        return [ours]
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(count)]}
    tasks = ({"type": "worker", "index": index} for index in range(count))
    return [{**ours, "TF_CONFIG": json.dumps({"cluster": cluster, "task": task})} for task in tasks]


def run(command, count, timeout=300):
    """Runs a command in each of `count` workers until all have ended; one that fails ends the others.

    Returns:
        For each worker its exit code and what it wrote to both its outputs.
    """
    with ExitStack() as held:
        outputs = [held.enter_context(tempfile.TemporaryFile("w+")) for _ in range(count)]
        started = [
            subprocess.Popen(command, env=env, stdout=output, stderr=subprocess.STDOUT)
            for env, output in zip(environments(count), outputs, strict=True)
        ]
        end = time.monotonic() + timeout
        while any(one.poll() is None for one in started):
            if any(one.returncode for one in started) or time.monotonic() > end:
                time.sleep(1)
                for one in started:
                    one.kill()
            time.sleep(0.05)
        for output in outputs:
            output.seek(0)
        return [(one.returncode, output.read()) for one, output in zip(started, outputs, strict=True)]


def run_all(program, count, *arguments, timeout=300):
    """Runs a Python file in `count` workers, none of which may fail; gives what each wrote."""
    ended = run([sys.executable, "-W", "ignore", str(program), *map(str, arguments)], count, timeout)
    assert [code for code, _ in ended] == [0] * count, "\n".join(text[-4000:] for _, text in ended)
    return [text for _, text in ended]
