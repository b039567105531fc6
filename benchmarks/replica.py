"""Processes that train a few steps when they are told to: one for each worker, pinned to its cores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tlkeras.cluster import Cluster
from tlkeras.cluster.launch import free_ports

CLASSES = 12


class Replica:
    """The processes of one set-up: one, or several workers that train together."""

    def __init__(self, processes: list[subprocess.Popen]):
        self._processes, self._asked = processes, 0

    @classmethod
    def start(cls, cores: Sequence[Sequence[int]], devices: str, backbone: str, image_size: int) -> Replica:
        """Starts a process for each set of cores; several find each other through TF_CONFIG."""
        ours = {name: value for name, value in os.environ.items() if name != "TF_CONFIG" and "SLURM_" not in name}
        ours |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        addresses = tuple(f"127.0.0.1:{port}" for port in free_ports(len(cores)))
        processes = []
        for index, own in enumerate(cores):
            environment = ours | ({"TF_CONFIG": Cluster(addresses, index).tf_config()} if len(cores) > 1 else {})
            pinned = ",".join(map(str, own))
            command = [sys.executable, "-W", "ignore", str(Path(__file__)), pinned, devices, backbone, str(image_size)]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            processes.append(subprocess.Popen(command, env=environment, **pipes))
        return cls(processes)

    def ask(self, trainable: str, loop: str, rows: int, steps: int) -> None:
        """Tells all processes to train some steps of `rows` images together."""
        self._asked += 1
        for process in self._processes:
            print(json.dumps([trainable, loop, rows, steps]), file=process.stdin, flush=True)

    def answers(self) -> list[tuple[float, float]]:
        """Waits for all that was asked, and gives for each process what the last of it took: seconds, CPU seconds."""
        for _ in range(self._asked):
            lines = [process.stdout.readline() for process in self._processes]
        self._asked = 0
        if not all(lines):
            sys.exit("a process ended; what it said is above")
        return [tuple(json.loads(line)) for line in lines]

    def end(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()


def main(cores: str, devices: str, backbone: str, image_size: str) -> None:
    # Before TensorFlow is imported, which makes as many threads as it may use cores.
    os.sched_setaffinity(0, {int(core) for core in cores.split(",")})
    from loops import Loops

    answer, sys.stdout = sys.stdout, sys.stderr
    loops = Loops(devices, backbone, int(image_size))
    for line in sys.stdin:
        print(json.dumps(loops.run(*json.loads(line))), file=answer, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
