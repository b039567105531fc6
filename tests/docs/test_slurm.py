"""docs/slurm: what its script gives to Bash, srun and tlkeras; README.md there says how a real Slurm ran it."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import workers
from helpers import REPOSITORY

from tlkeras.cli.train import command
from tlkeras.cluster import from_environment

SCRIPT = REPOSITORY / "docs" / "slurm" / "train.sbatch"
# What srun of Slurm 22.05 sets in the second of two tasks of this script, without addresses and names of the machine.
SECOND = """
SLURMD_NODENAME=n2 SLURM_CLUSTER_NAME=tlk SLURM_CPUS_ON_NODE=1 SLURM_CPUS_PER_TASK=1 SLURM_DISTRIBUTION=cyclic
SLURM_GTIDS=1 SLURM_JOBID=3 SLURM_JOB_CPUS_PER_NODE=1(x2) SLURM_JOB_GID=0 SLURM_JOB_ID=3 SLURM_JOB_NAME=tlkeras
SLURM_JOB_NODELIST=n[1-2] SLURM_JOB_NUM_NODES=2 SLURM_JOB_PARTITION=main SLURM_LOCALID=0 SLURM_NNODES=2 SLURM_NODEID=1
SLURM_NODELIST=n[1-2] SLURM_NPROCS=2 SLURM_NTASKS=2 SLURM_NTASKS_PER_NODE=1 SLURM_PRIO_PROCESS=0 SLURM_PROCID=1
SLURM_STEPID=0 SLURM_STEP_ID=0 SLURM_STEP_NODELIST=n[1-2] SLURM_STEP_NUM_NODES=2 SLURM_STEP_NUM_TASKS=2
SLURM_STEP_TASKS_PER_NODE=1(x2) SLURM_TASKS_PER_NODE=1(x2) SLURM_TOPOLOGY_ADDR=n2 SLURM_TOPOLOGY_ADDR_PATTERN=node
"""


def second(**changes):
    return dict(pair.split("=", 1) for pair in SECOND.split()) | changes


def test_the_script_is_bash():
    assert subprocess.run(["bash", "-n", SCRIPT], check=False).returncode == 0


def test_the_command_is_one_of_tlkeras():
    (line,) = re.findall(r"^srun .*$", SCRIPT.read_text(), re.MULTILINE)
    words = shlex.split(line)
    begin = words.index("tlkeras")
    assert all(word.startswith("--") for word in words[1:begin]) and words[begin + 1] == command.name
    given = command.make_context("train", [*words[begin + 2 :], "--output=run"]).params
    assert given["resume"] and given["data"] == "$@"


def test_both_tasks_find_themselves():
    found = from_environment(second())
    assert (found.addresses, found.index) == (("n1:8888", "n2:8888"), 1)
    assert from_environment(second(SLURM_PROCID="0", SLURM_NODEID="0", SLURM_GTIDS="0")).is_chief


def test_the_batch_script_itself_is_no_worker():
    batch = {name: value for name, value in second().items() if not name.startswith("SLURM_STEP")}
    assert from_environment(batch) is None


@pytest.mark.slow
def test_tasks_of_one_node_train(photo_folder, tmp_path):
    small = ["--weights=random", "--image-size=32", "--epochs=1", "--resume", f"--output={tmp_path / 'run'}"]
    line = [sys.executable, "-c", "from tlkeras.cli import main; main()", "train", str(photo_folder), *small]
    ports, started = sorted(workers.free_ports(2)), []
    for rank in range(2):
        here = second(
            SLURM_STEP_NODELIST="localhost",
            SLURM_STEP_TASKS_PER_NODE="2",
            SLURM_STEP_RESV_PORTS=",".join(map(str, ports)),
            SLURM_PROCID=str(rank),
            SLURM_NODEID="0",
        )
        started.append(subprocess.Popen(line, env=workers.environments(1)[0] | here, stdout=-1, stderr=-2, text=True))
    outputs = [one.communicate(timeout=600)[0] for one in started]
    assert [one.returncode for one in started] == [0, 0], outputs
    assert json.loads((tmp_path / "run" / "metrics.json").read_text())["accuracy"] and "test accuracy" in outputs[0]
