"""A converted model beside the one that it was made of: accuracy, difference, size, and time for one input."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import os
import time
from collections.abc import Callable, Sequence

import numpy as np

from tlkeras.data.dataset import Example
from tlkeras.data.pipeline import input_set
from tlkeras.errors import TlkerasError

# Takes a batch of inputs, float32 images or strings, and gives probabilities `(batch, classes)`.
Answer = Callable[[np.ndarray], np.ndarray]

MAX_DROP = 0.01
THREADS = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_BATCH = 32
_SAME_PIXELS = 64
_WARM_UP, _PAIRS = 5, 50
# Seconds after which no further pair is timed.
_PATIENCE = 20.0


@dataclasses.dataclass(frozen=True)
class Figures:
    """What was measured of one form of a model.

    Attributes:
        name: What it is.
        bytes: Size of its file.
        compressed: Of the file after gzip.
        accuracy: On the test part.
        seconds: Median time for one input on all processors; None where it was not measured.
        seconds_on_one: The same on one thread.
    """

    name: str
    bytes: int
    compressed: int
    accuracy: float
    seconds: float | None = None
    seconds_on_one: float | None = None


class TooLossy(TlkerasError):
    """What was made is less accurate than the model, by more than is allowed.

    Attributes:
        forms: What was measured, of the model first.
    """

    exit_code = 1

    def __init__(self, message: str, forms: Sequence[Figures]):
        super().__init__(message)
        self.forms = forms


def check_drop(forms: Sequence[Figures], count: int, max_drop: float, force: bool) -> None:
    """Refuses what lost more accuracy than is allowed, unless it is forced.

    Args:
        forms: Figures of the original first, of what was made of it last.
        count: Examples that they were measured on.
        max_drop: Accuracy that may be lost.
        force: Let it pass.

    Raises:
        TooLossy: It lost more.
    """
    first, last = forms[0].accuracy, forms[-1].accuracy
    # Both are shares of the same count; rounding must not decide. Put so that NaN does not pass.
    if not (first - last <= max_drop + 1e-9 or force):
        raise TooLossy(
            f"{forms[-1].name} loses {first - last:.4f} of accuracy ({first:.4f} to {last:.4f} on {count} test "
            f"examples), and --max-drop allows {max_drop:g}; nothing was written. --force writes it anyway",
            forms,
        )


def size(content: bytes) -> tuple[int, int]:
    """Gives the size of a file in bytes, as it is and after gzip."""
    return len(content), len(gzip.compress(content, 6, mtime=0))


def in_whole_pixels(answer: Answer) -> Answer:
    """Makes what takes uint8 pixels take float32 images."""
    return lambda images: answer(np.rint(images).astype(np.uint8))


def answers(
    forms: Sequence[Answer], examples: Sequence[Example], image_size: tuple[int, int] | None
) -> list[np.ndarray]:
    """Asks several forms of a model for the probabilities of the same examples, which are read once.

    Returns:
        For each form an array `(count, classes)`.
    """
    found = [[] for _ in forms]
    for batch in input_set(examples, image_size, _BATCH):
        inputs = batch.numpy()
        for answer, probabilities in zip(forms, found, strict=True):
            probabilities.append(answer(inputs))
    return [np.concatenate(probabilities) for probabilities in found]


def difference(original: Answer, other: Answer, examples: Sequence[Example], image_size: tuple | None) -> float:
    """Gives the largest difference of a probability between two forms, on the same whole pixels, or texts."""
    forms = [original, other]
    if image_size is not None:
        forms = [functools.partial(_rounded, answer) for answer in forms]
    first, second = answers(forms, examples[:_SAME_PIXELS], image_size)
    return float(np.abs(first - second).max())


def _rounded(answer: Answer, images: np.ndarray) -> np.ndarray:
    return answer(np.rint(images))


def seconds(forms: Sequence[Answer], one: np.ndarray) -> list[float]:
    """Measures the median time that each form takes for one input; they take turns, so that all see the same machine.

    Args:
        forms: What is measured.
        one: A batch of one.
    """
    for answer in list(forms) * _WARM_UP:
        answer(one)
    taken, begun = [[] for _ in forms], time.perf_counter()
    while len(taken[0]) < _PAIRS and time.perf_counter() - begun < _PATIENCE:
        for answer, times in zip(forms, taken, strict=True):
            start = time.perf_counter()
            answer(one)
            times.append(time.perf_counter() - start)
    return [float(np.median(times)) for times in taken]
