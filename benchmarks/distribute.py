"""What training on several devices costs and gives: measured on this machine's cores, and on paper for GPUs.

    python benchmarks/distribute.py measure
    python benchmarks/distribute.py read FOLDER
    python benchmarks/distribute.py paper

`measure` trains in real processes, each pinned to its cores, that take turns: in each round every one of them runs a
few steps, and what is compared was measured within seconds of each other. Weights are random and the images are one
batch in memory, which makes no difference to the time of a step. `read` measures what reading photos takes in place of
that. `paper` counts the gradients and FLOPs of real models, and prints what `scaling.py` expects of them on GPUs.
docs/scaling.md explains all three.
"""

from __future__ import annotations

import signal
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))

from replica import Replica

SETUPS = {
    "1 process, 1 core": (((0,),), "cpu"),
    "1 process, 2 cores": (((0, 1),), "cpu"),
    "2 workers, 1 core each": (((0,), (1,)), "cpu"),
    "2 logical devices, 2 cores": (((0, 1),), "cpu:2"),
}
COMPARED = BASE, *MANY = "1 process, 1 core", "2 workers, 1 core each", "2 logical devices, 2 cores"


@click.group()
def main() -> None:
    """Measures training on several devices of this machine, or estimates it for GPUs."""


@main.command()
@click.option("--backbone", default="efficientnet_v2_b0", show_default=True, help="A card of the zoo.")
@click.option("--image-size", default=96, show_default=True, help="Pixels a side.")
@click.option("--batch-size", default=32, show_default=True, help="Images a step, of all replicas together.")
@click.option("--steps", default=3, show_default=True, help="Steps in a row; three times as many of the head.")
@click.option("--rounds", default=6, show_default=True, help="How often each set-up has its turn.")
def measure(backbone: str, image_size: int, batch_size: int, steps: int, rounds: int) -> None:
    """Measures steps, all-reduce and the overhead of fit, on two cores."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    setups = {name: Replica.start(cores, devices, backbone, image_size) for name, (cores, devices) in SETUPS.items()}
    try:
        measured = Measured(batch_size)
        plan = list(_plan(batch_size, steps))
        for ask in plan:  # The first time traces; all set-ups do so at once.
            if ask.rows == batch_size:
                setups[ask.setup].ask(ask.trainable, ask.loop, ask.rows, 1)
        for setup in setups.values():
            setup.answers()
        for number in range(rounds):
            # Forth and back, so that what slows down or speeds up within a round favours none.
            for ask in plan if number % 2 == 0 else reversed(plan):
                setups[ask.setup].ask(ask.trainable, ask.loop, ask.rows, ask.steps)
                measured.add(ask, setups[ask.setup].answers())
            click.echo(f"round {number + 1} of {rounds}", err=True)
    finally:
        for setup in setups.values():
            setup.end()
    measured.show()


@dataclass(frozen=True)
class Ask:
    """A stretch of steps of one set-up.

    Attributes:
        setup: Name of the set-up.
        trainable: `all` or `head`.
        loop: `fit`, `bare`, `unreduced` or `reduce`; see `loops.py`.
        rows: Images a step.
        steps: How many steps in a row.
    """

    setup: str
    trainable: str
    loop: str
    rows: int
    steps: int


def _plan(batch_size: int, steps: int) -> Iterator[Ask]:
    for trainable in ("all", "head"):
        in_a_row = steps if trainable == "all" else 3 * steps  # Those of the head are short.
        for setup in SETUPS:
            yield Ask(setup, trainable, "fit", batch_size, in_a_row)
            if setup in COMPARED:
                yield Ask(setup, trainable, "bare", batch_size, in_a_row)
            if setup in MANY:
                yield Ask(setup, trainable, "unreduced", batch_size, in_a_row)
                yield Ask(setup, trainable, "reduce", batch_size, 3 * steps)
                yield Ask(setup, trainable, "fit", 2 * batch_size, in_a_row)


class Measured:
    """Seconds and CPU seconds a step of every set-up, round by round."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._seconds: dict[tuple, list[float]] = {}
        self._cpu_seconds: dict[tuple, list[float]] = {}

    def add(self, ask: Ask, answers: list[tuple[float, float]]) -> None:
        """Adds what the processes of a set-up said: the slowest one's time, and the CPU time of all."""
        key = (ask.setup, ask.trainable, ask.loop, ask.rows)
        seconds, cpu_seconds = zip(*answers, strict=True)
        self._seconds.setdefault(key, []).append(max(seconds) / ask.steps)
        self._cpu_seconds.setdefault(key, []).append(sum(cpu_seconds) / ask.steps)

    def show(self) -> None:
        rows = self._batch_size
        for trainable in ("all", "head"):
            print(f"\ntrainable={trainable}: fit with {rows} images a step, or {2 * rows}")
            _line("", "step", "images/s", "speed-up")
            base = (BASE, trainable, "fit", rows)
            for setup in SETUPS:
                self._show_step(setup, (setup, trainable, "fit", rows), base)
            for setup in MANY:
                self._show_step(f"{setup}, {2 * rows} images", (setup, trainable, "fit", 2 * rows), base)
            print("fit against the bare loop")
            _line("", "time", "CPU time")
            for setup in COMPARED:
                keys = [(setup, trainable, loop, rows) for loop in ("fit", "bare")]
                _line(setup, _ratio(self._seconds, *keys), _ratio(self._cpu_seconds, *keys))
            print("all-reduce of the gradients: by itself, and the bare loop against one without it")
            _line("", "by itself", "part of a bare step", "time", "CPU time")
            for setup in MANY:
                reduce, bare, unreduced = ((setup, trainable, loop, rows) for loop in ("reduce", "bare", "unreduced"))
                alone = f"{1000 * statistics.median(self._seconds[reduce]):.1f} ms"
                ratios = [_ratio(seconds, bare, unreduced) for seconds in (self._seconds, self._cpu_seconds)]
                _line(setup, alone, _ratio(self._seconds, reduce, bare), *ratios)

    def _show_step(self, name: str, key: tuple, base: tuple) -> None:
        step, times = statistics.median(self._seconds[key]), key[-1] / base[-1]
        speed_up = _ratio(self._seconds, base, key, times)
        _line(name, f"{step:.3f} s", f"{key[-1] / step:.1f}", speed_up)


def _ratio(seconds: dict[tuple, list[float]], key: tuple, other: tuple, times: float = 1.0) -> str:
    """Words the ratio of what was measured in the same round: the median of all rounds, and the middle half."""
    ratios = [times * one / two for one, two in zip(seconds[key], seconds[other], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else 3 * ratios
    return f"{middle:.3f} ({low:.3f} to {high:.3f})"


def _line(name: str, *cells: str) -> None:
    print((f"  {name:<38}" + "".join(f"{cell:<26}" for cell in cells)).rstrip())


@main.command()
@click.argument("folder")
@click.option("--image-size", default=224, show_default=True, help="Pixels a side.")
def read(folder: str, image_size: int) -> None:
    """Measures the CPU time that reading, decoding and resizing the photos of a FOLDER takes."""
    import tlkeras
    from tlkeras.data import pipeline

    paths = [example.path for example in tlkeras.data.load(folder).parts["train"]]
    begun = time.process_time()
    for _ in pipeline.image_set(paths, image_size, 32):
        pass
    print(f"{len(paths) / (time.process_time() - begun):.0f} images a second of one core")


@main.command()
def paper() -> None:
    """Counts gradients and FLOPs of real models, and estimates how they scale on GPUs."""
    import scaling

    scaling.show()


if __name__ == "__main__":
    main()
