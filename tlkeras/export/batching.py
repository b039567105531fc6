"""How many requests TensorFlow Serving should answer together, by the latency that an export was measured to have."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping
from pathlib import Path

import tensorflow as tf

from tlkeras.backbones.text import needs
from tlkeras.export import python_runtime
from tlkeras.export.contract import read_about

BATCH_SIZES = (1, 2, 4, 8, 16, 32)
# A batch may take so long, in seconds: what one of its requests waits for the others.
LONGEST_BATCH = 0.25
# The next larger batch must answer so much more a second.
_WORTH = 1.05
# Share of the latency of one that a request waits for company.
WAITS = 0.5
# Rows of the largest request that is answered, and seconds in which what waits is answered when the queue is full.
LARGEST_REQUEST, LONGEST_QUEUE = 256, 5
_SECONDS, _ROUNDS = 0.4, 3


@dataclasses.dataclass(frozen=True)
class Batching:
    """Batching for TensorFlow Serving.

    Attributes:
        rows: The most rows that are computed together.
        timeout_micros: How long a request waits for others.
        enqueued: The most batches that wait.
        threads: Batches that are computed at a time.
        latencies: Seconds by batch size that it is fitted to.
    """

    rows: int
    timeout_micros: int
    enqueued: int
    threads: int
    latencies: Mapping[int, float]


def measure(version: Path, example: Path | str) -> dict[int, float]:
    """Measures how long an export takes for batches of several sizes, in this process and alone on this machine.

    Args:
        version: The version, `EXPORT/N`.
        example: An image file, or a text, that each row of a batch is.

    Returns:
        The least seconds that `serving_default` took, by batch size: what else runs here can only add to them.

    Raises:
        TlkerasError: The version cannot be loaded.
    """
    about = read_about(version)
    for package in about.needs:
        needs(package)
    loaded = python_runtime.load(version)
    content = example.encode() if isinstance(example, str) else example.read_bytes()

    def ask(size: int) -> float:
        inputs = {about.takes: tf.constant([content] * size)}
        begin = time.perf_counter()
        for value in loaded.signatures["serving_default"](**inputs).values():
            value.numpy()
        return time.perf_counter() - begin

    found = {}
    for size in BATCH_SIZES:
        ask(size)
        seconds = []
        while len(seconds) < _ROUNDS or sum(seconds) < _SECONDS:
            seconds.append(ask(size))
        found[size] = min(seconds)
    return found


def fit(latencies: Mapping[int, float]) -> Batching:
    """Chooses the batching: the largest batch that answers more a second than smaller ones, and not too late.

    A batch that takes 5 % less time a row than the best smaller one is worth it, as long as it takes no more than a
    quarter of a second. The queue holds what is answered within 5 seconds, and at least one request of 256 rows,
    which is computed in parts.

    Args:
        latencies: Seconds by batch size; of 1 at least.
    """
    rows = 1
    for size in sorted(latencies):
        if latencies[size] <= LONGEST_BATCH and size / latencies[size] >= _WORTH * rows / latencies[rows]:
            rows = size
    waiting = max(math.ceil(LARGEST_REQUEST / rows), int(LONGEST_QUEUE / latencies[rows]))
    timeout = 0 if rows == 1 else round(1e6 * WAITS * latencies[1])
    return Batching(rows, timeout, waiting, len(os.sched_getaffinity(0)), dict(latencies))
