"""What Slurm tells the processes of a step: https://slurm.schedmd.com/srun.html, output environment variables.

TensorFlow's `SlurmClusterResolver` reads the same and gives the same addresses. It sorts the nodes by name, though, and
so gives workers wrong addresses where Slurm counts n9 before n10; and it cannot be asked without loading TensorFlow.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tlkeras.errors import TlkerasError

# The port of the first worker on each node, that of TensorFlow's resolver; `srun --resv-ports` gives others.
_PORT = 8888


def step(environment: Mapping[str, str]) -> tuple[list[str], int] | None:
    """Lists the `host:port` of all tasks of this step in the order of their numbers, and gives the number of this one.

    Returns:
        None outside of a step, as in a batch script that calls no srun.

    Raises:
        TlkerasError: A variable cannot be read, or the tasks are not dealt out to the nodes in blocks.
    """
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST")
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE")
    if not nodes or not tasks or "SLURM_PROCID" not in environment:
        return None
    hosts, counts = expand(nodes), _counts(tasks)
    ports = _ports(environment.get("SLURM_STEP_RESV_PORTS", ""), max(counts))
    rank = _number(environment, "SLURM_PROCID", 0)
    total = _number(environment, "SLURM_STEP_NUM_TASKS", _number(environment, "SLURM_NTASKS", sum(counts)))
    if len(hosts) != len(counts) or total != sum(counts) or rank >= total:
        raise TlkerasError(
            f"Slurm's variables disagree: nodes {nodes}, tasks per node {tasks}, {total} tasks, "
            f"SLURM_PROCID {rank}; start the command with srun, or set TF_CONFIG"
        )
    places = [(node, port) for node, count in enumerate(counts) for port in range(count)]
    if _number(environment, "SLURM_NODEID", places[rank][0]) != places[rank][0]:
        raise TlkerasError("Slurm deals out the tasks in turn: start the command with srun --distribution=block")
    return [f"{hosts[node]}:{ports[port]}" for node, port in places], rank


def expand(nodes: str) -> list[str]:
    """Expands a list of nodes as Slurm writes it.

    >>> expand("node[01-03,07],gpu1")
    ['node01', 'node02', 'node03', 'node07', 'gpu1']
    """
    parts = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", nodes)
    if not parts or ",".join(parts) != nodes:
        raise _unreadable("list of nodes", nodes)
    return [host for part in parts for host in _expand_part(part, nodes)]


def _expand_part(part: str, nodes: str) -> list[str]:
    before, bracket, rest = part.partition("[")
    if not bracket:
        return [part]
    inside, _, after = rest.partition("]")
    hosts = []
    for span in inside.split(","):
        matched = re.fullmatch(r"(\d+)(?:-(\d+))?", span)
        if not matched:
            raise _unreadable("list of nodes", nodes)
        first, last = matched[1], matched[2] or matched[1]
        if int(last) - int(first) > 100_000:
            raise _unreadable("list of nodes", nodes)
        numbers = range(int(first), int(last) + 1)
        hosts += [f"{before}{number:0{len(first)}}{end}" for number in numbers for end in _expand_part(after, nodes)]
    return hosts


def _counts(tasks: str) -> list[int]:
    counts = []
    for part in tasks.split(","):
        matched = re.fullmatch(r"(\d{1,6})(?:\(x(\d{1,6})\))?", part)
        if not matched or int(matched[1]) == 0:
            raise _unreadable("number of tasks per node", tasks)
        counts += [int(matched[1])] * int(matched[2] or 1)
    return counts


def _ports(reserved: str, needed: int) -> list[int]:
    ports = [int(port) for port in expand(f"[{reserved}]")] if reserved else []
    return ports if len(ports) >= needed else list(range(_PORT, _PORT + needed))


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not re.fullmatch(r"\d{1,9}", text):
        raise _unreadable(name, text)
    return int(text)


def _unreadable(what: str, text: str) -> TlkerasError:
    return TlkerasError(f"Slurm's {what} cannot be read; set TF_CONFIG instead. Received: {text!r}")
