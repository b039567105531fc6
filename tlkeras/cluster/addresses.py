"""Who takes part in a training and where: from TF_CONFIG or from Slurm's variables."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from tlkeras.cluster import slurm
from tlkeras.errors import TlkerasError

_LEGAL = (
    'legal is {"cluster": {"worker": ["HOST:PORT", …]}, "task": {"type": "worker", "index": 0}}, '
    "with a chief before the workers if you like"
)


@dataclass(frozen=True)
class Cluster:
    """The workers of a training, one process each, and which of them this process is. Worker 0 is the chief.

    Attributes:
        addresses: `host:port` of each worker, worker 0 first; two at least.
        index: The number of this worker.
    """

    addresses: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Says whether this process writes the run and speaks for all."""
        return self.index == 0

    @property
    def size(self) -> int:
        """Counts the workers."""
        return len(self.addresses)

    def place(self, index: int) -> tuple[str, int]:
        """Gives host and port of a worker."""
        return _split(self.addresses[index])

    def name(self, index: int) -> str:
        """Names a worker with its address, as `worker 2 (node7:8888)`."""
        return f"worker {index} ({self.addresses[index]})"

    def tf_config(self) -> str:
        """Gives the cluster as TF_CONFIG, for TensorFlow to read; a chief is written as worker 0, which is the same."""
        task = {"type": "worker", "index": self.index}
        return json.dumps({"cluster": {"worker": list(self.addresses)}, "task": task})

    def __str__(self) -> str:
        return f"worker {self.index} of {self.size}, chief {'yes' if self.is_chief else 'no'}"


def from_environment(environment: Mapping[str, str] = os.environ) -> Cluster | None:
    """Finds the cluster in TF_CONFIG, which comes first, or in the variables of a Slurm step (`srun`).

    Returns:
        None where there is none, or one with a single worker.

    Raises:
        TlkerasError: The variables make no sense, or ask for parameter servers or an evaluator.
    """
    text = environment.get("TF_CONFIG", "").strip()
    found = slurm.step(environment) if text in ("", "{}") else _from_tf_config(text)
    if found is None:
        return None
    addresses, index = found
    _check_addresses(addresses)
    return Cluster(tuple(addresses), index) if len(addresses) > 1 else None


def _from_tf_config(text: str) -> tuple[list[str], int]:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise _malformed(f"it is no JSON ({error})", text) from None
    cluster, task = (config.get(key) if isinstance(config, dict) else None for key in ("cluster", "task"))
    if not isinstance(cluster, dict) or not isinstance(task, dict):
        raise _malformed("it needs `cluster` and `task`, each an object", text)
    kind, index = task.get("type"), task.get("index")
    for job in (*cluster, kind):
        if job in ("ps", "evaluator"):
            raise TlkerasError(
                f"TF_CONFIG has the job {job!r}: tlkeras trains with workers alone, which also evaluate; leave it out"
            )
    if unknown := [job for job in cluster if job not in ("chief", "worker")]:
        raise _malformed(f"it has the job {unknown[0]!r}", text)
    jobs = {job: cluster.get(job, []) for job in ("chief", "worker")}
    if any(not isinstance(hosts, list) or any(not isinstance(host, str) for host in hosts) for hosts in jobs.values()):
        raise _malformed("its jobs are no lists of addresses", text)
    if len(jobs["chief"]) > 1:
        raise _malformed("it has more than one chief", text)
    if kind not in jobs or not re.fullmatch(r"\d{1,6}", "" if isinstance(index, bool) else str(index)):
        raise _malformed("its task has no type `worker` or `chief` with an index", text)
    if int(index) >= len(jobs[kind]):
        raise _malformed(f"it has no {kind} {index}", text)
    before = len(jobs["chief"]) if kind == "worker" else 0
    return jobs["chief"] + jobs["worker"], before + int(index)


def _malformed(problem: str, text: str) -> TlkerasError:
    shown = text if len(text) <= 300 else f"{text[:300]}…"
    return TlkerasError(f"TF_CONFIG cannot be used: {problem}; {_LEGAL}. Received: {' '.join(shown.split())}")


def _check_addresses(addresses: list[str]) -> None:
    for address in addresses:
        host, port = _split(address)
        if not host or not 0 < port < 65536:
            raise TlkerasError(
                f"an address of a worker is written host:port, with a port from 1 to 65535. Received: {address!r}"
            )
        if addresses.count(address) > 1:
            raise TlkerasError(f"two workers have the same address: {address!r}; each needs a port of its own")


def _split(address: str) -> tuple[str, int]:
    matched = re.fullmatch(r"(?:\[([0-9A-Fa-f:.%]+)\]|([^\s:/\[\]]+)):(\d{1,5})", address)
    return (matched[1] or matched[2], int(matched[3])) if matched else ("", 0)
