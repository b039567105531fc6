"""What training on several devices costs and gives: measured on this machine's cores, and on paper for GPUs.

    python benchmarks/distribute.py measure
    python benchmarks/distribute.py paper

`measure` trains in real processes, each pinned to its cores, that take turns: in each round every one of them runs a
few steps, and what is compared was measured within seconds of each other. Weights are random and the images are one
batch in memory: time knows no difference. `paper` counts the gradients and the FLOPs of real models and prints what
`scaling.py` expects of them. docs/scaling.md explains both.
"""

from __future__ import annotations

import signal
import statistics
import sys
from collections.abc import Callable
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
BASE, *MANY = "1 process, 1 core", "2 workers, 1 core each", "2 logical devices, 2 cores"


@click.group()
def main() -> None:
    """Measures training on several devices of this machine, or estimates it for GPUs."""


@main.command()
@click.option("--backbone", default="efficientnet_v2_b0", show_default=True, help="A card of the zoo.")
@click.option("--image-size", default=96, show_default=True, help="Pixels a side.")
@click.option("--batch-size", default=32, show_default=True, help="Images a step, of all replicas together.")
@click.option("--steps", default=3, show_default=True, help="Steps in a row.")
@click.option("--rounds", default=7, show_default=True, help="How often each set-up has its turn.")
def measure(backbone: str, image_size: int, batch_size: int, steps: int, rounds: int) -> None:
    """Measures steps, all-reduce and the overhead of fit, on two cores."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    setups = {name: Replica.start(cores, devices, backbone, image_size) for name, (cores, devices) in SETUPS.items()}
    try:
        measured = Measured(batch_size)
        plan = list(_plan(batch_size, steps))
        for ask in plan:  # The first time traces; all set-ups do so at once.
            setups[ask.setup].ask(ask.trainable, ask.loop, ask.rows, 1)
        for setup in setups.values():
            setup.answers()
        for number in range(rounds):
            # Forth and back, so that what slows down or speeds up within a round favours none.
            for ask in plan if number % 2 == 0 else reversed(plan):
                setups[ask.setup].ask(ask.trainable, ask.loop, ask.rows, ask.steps)
                measured.add(ask, max(setups[ask.setup].answers()) / ask.steps)
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


def _plan(batch_size: int, steps: int):
    for trainable in ("all", "head"):
        for setup in SETUPS:
            for loop in ("fit", "bare"):
                yield Ask(setup, trainable, loop, batch_size, steps)
            if setup in MANY:
                yield Ask(setup, trainable, "unreduced", batch_size, steps)
                yield Ask(setup, trainable, "reduce", batch_size, 10 * steps)
                yield Ask(setup, trainable, "fit", 2 * batch_size, steps)


class Measured:
    """Seconds a step of every set-up, round by round."""

    def __init__(self, batch_size: int):
        self._batch_size = batch_size
        self._seconds: dict[tuple, list[float]] = {}

    def add(self, ask: Ask, seconds: float) -> None:
        self._seconds.setdefault((ask.setup, ask.trainable, ask.loop, ask.rows), []).append(seconds)

    def show(self) -> None:
        rows = self._batch_size
        for trainable in ("all", "head"):
            base = (BASE, trainable, "fit", rows)
            print(f"\ntrainable={trainable}, {rows} images a step")
            _line("", "step", "images/s", "speed-up")
            for setup in SETUPS:
                key = (setup, trainable, "fit", rows)
                step = statistics.median(self._seconds[key])
                _line(setup, f"{step:.3f} s", f"{rows / step:.1f}", self._compare(base, key))
            for setup in MANY:
                key = (setup, trainable, "fit", 2 * rows)
                step = statistics.median(self._seconds[key])
                speed = self._compare(base, key, lambda one, two: 2 * one / two)
                _line(f"{setup}, {2 * rows} images", f"{step:.3f} s", f"{2 * rows / step:.1f}", speed)
            print("\nfit against the bare loop")
            for setup in SETUPS:
                keys = [(setup, trainable, loop, rows) for loop in ("fit", "bare")]
                _line(setup, self._compare(*keys))
            print("\nall-reduce of the gradients: alone, as part of the step, and the step with it against one without")
            for setup in MANY:
                reduce, bare, unreduced = ((setup, trainable, loop, rows) for loop in ("reduce", "bare", "unreduced"))
                alone = statistics.median(self._seconds[reduce])
                share = self._compare(reduce, bare, spelling="{:.1%}")
                _line(setup, f"{1000 * alone:.1f} ms", share, self._compare(bare, unreduced))

    def _compare(
        self, key: tuple, other: tuple, ratio: Callable = lambda one, two: one / two, spelling: str = "{:.3f}"
    ) -> str:
        ratios = sorted(map(ratio, self._seconds[key], self._seconds[other]))
        middle, low, high = (spelling.format(value) for value in (statistics.median(ratios), ratios[0], ratios[-1]))
        return f"{middle} ({low} to {high})"


def _line(name: str, *cells: str) -> None:
    print(f"  {name:<38}" + "".join(f"{cell:<26}" for cell in cells).rstrip())


@main.command()
def paper() -> None:
    """Counts gradients and FLOPs of real models, and estimates how they scale on GPUs."""
    import scaling

    scaling.show()


if __name__ == "__main__":
    main()
