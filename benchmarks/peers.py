"""How fast tlkeras is beside others: the same data, backbone and weights, in whole processes, one after the other.

    python benchmarks/peers.py prepare WORK
    python benchmarks/peers.py run WORK FLOWERS CIFAR [--rounds 3] [--workloads probe,again] [--ways keras,tlkeras-auto]
    python benchmarks/peers.py table WORK

FLOWERS and CIFAR are folders with `train/` and `test/` and a folder for each class in both. `prepare` fetches the
weights of EfficientNet-Lite0 into WORK and makes from them what the peers start from. `run` adds what it measures to
`WORK/measured.jsonl`: each way of `ways.py` has its turn in each round, in a process of its own with a cache of its
own; what was measured before stays, so that a run that was stopped goes on. What cannot run here is named and left
out. `table` prints the medians.

The peers themselves are in `peers/`, a script each. Their `fit` validates on the test photos, as people do; tlkeras
cuts its validation photos from those for training. In `predict` all have the weights of one run of tlkeras.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

sys.path.insert(0, str(Path(__file__).parent))

import peers_table
import ways

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True)


@click.group()
def main() -> None:
    """Compares tlkeras with other ways."""


@main.command()
@click.argument("work", type=click.Path(path_type=Path, resolve_path=True))
def prepare(work: Path) -> None:
    """Fetches the weights, and makes from them what the peers start from."""
    (work / "home").mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, ways.PEERS / "prepare.py", work], env=_environment(work / "home"), check=True)


@main.command()
@click.argument("work", type=_FOLDER)
@click.argument("flowers", type=_FOLDER)
@click.argument("cifar", type=_FOLDER)
@click.option("--rounds", default=3, show_default=True, help="How often each way has its turn.")
@click.option("--workloads", default=",".join(ways.WORKLOADS), show_default=True, help="What is to be done.")
@click.option("--ways", "chosen", default=",".join(ways.WAYS), help="Who does it; all by default.")
@click.option("--torch", default=sys.executable, help="The Python with torch and efficientnet_lite_pytorch.")
def run(work: Path, flowers: Path, cifar: Path, rounds: int, workloads: str, chosen: str, torch: str) -> None:
    """Measures what was not measured yet."""
    places = {"flowers": ways.Place(work, flowers, torch), "cifar": ways.Place(work, cifar, torch)}
    tasks = [ways.WORKLOADS[_known(name, ways.WORKLOADS)] for name in workloads.split(",")]
    names = [name for name in (_known(name, ways.WAYS) for name in chosen.split(",")) if _can(name, torch)]
    done = {(row["workload"], row["way"], row["round"]) for row in peers_table.read(work)}
    failed = 0
    for number in range(rounds):
        for task in tasks:
            able = [name for name in names if task.name in ways.WAYS[name].workloads]
            # Forth and back, so that what slows down or speeds up within a round favours none.
            for name in able if number % 2 == 0 else reversed(able):
                if (task.name, name, number) not in done:
                    failed += not _turn(task, name, number, places[task.data])
    print(peers_table.table(peers_table.read(work)))
    sys.exit(1 if failed else 0)


@main.command()
@click.argument("work", type=_FOLDER)
def table(work: Path) -> None:
    """Prints the medians of what was measured."""
    print(peers_table.table(peers_table.read(work)))


def _known(name: str, legal: dict) -> str:
    if name not in legal:
        raise click.UsageError(f"there is no {name!r}; legal is {', '.join(legal)}")
    return name


def _can(name: str, torch: str) -> bool:
    missing = ways.WAYS[name].missing()
    if (
        name == "torch"
        and subprocess.run([torch, "-c", "import torch, efficientnet_lite_pytorch"], capture_output=True).returncode
    ):
        missing = ["torch or efficientnet_lite_pytorch"]
    if missing:
        click.echo(f"{name} is left out: {', '.join(missing)} is not installed", err=True)
    return not missing


def _turn(task: ways.Workload, name: str, number: int, place: ways.Place) -> bool:
    """Measures a way once, adds a line to the file, and says whether it ended well."""
    way, home = ways.WAYS[name], place.work / "homes" / name
    if task.name == "predict":
        _train_once(place)
    ways.clear(task, place, home)
    command = [str(part) for part in way.command(task, place)]
    _read_all(place.data)
    log = place.work / "logs" / f"{task.name}-{name}-{number}"
    try:
        if task.base and not (home / "features").exists():
            before = [str(part) for part in way.command(ways.WORKLOADS[task.base], place)]
            _measure(before, home, log)
            ways.clear(task, place, home)
        measured = {"workload": task.name, "way": name, "round": number, **_measure(command, home, log)}
    except ValueError as error:
        click.echo(f"{task.name} {name}: {error}; see {log}.err", err=True)
        return False
    with (place.work / peers_table.FILE).open("a") as file:
        file.write(json.dumps(measured) + "\n")
    click.echo(json.dumps(measured), err=True)
    return True


def _train_once(place: ways.Place) -> None:
    """Trains the model that all ways predict with, where it is not there yet."""
    if (place.work / "trained.keras").exists():
        return
    task, home = ways.WORKLOADS["probe"], _environment(place.work / "home")
    made = ways.WAYS["tlkeras-tensorflow-all"].command(task, place)
    made[made.index(place.work / "run")] = place.work / "trained"
    subprocess.run([str(part) for part in made], env=home, check=True, stdout=sys.stderr)
    script = [sys.executable, ways.PEERS / "prepare.py", place.work, place.work / "trained"]
    subprocess.run(script, env=home, check=True, stdout=sys.stderr)


def _measure(command: list[str], home: Path, log: Path) -> dict:
    """Runs a process from start to end.

    Raises:
        ValueError: It failed, or printed no accuracy.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    load = os.getloadavg()[0]
    with tempfile.TemporaryFile("w+") as printed, log.with_suffix(".err").open("w") as told:
        begun = time.perf_counter()
        process = subprocess.Popen(command, stdout=printed, stderr=told, env=_environment(home))
        try:
            # Unlike `wait` this tells what that one process, and those that it waited for, took.
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        finally:
            if process.returncode is None:
                process.kill()
        seconds = time.perf_counter() - begun
        printed.seek(0)
        log.with_suffix(".out").write_text(text := printed.read())
    if process.returncode:
        raise ValueError(f"it ended with {process.returncode}")
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
        "accuracy": ways.accuracy(text),
        "load_before": round(load, 2),
    }


def _environment(home: Path) -> dict[str, str]:
    return {**os.environ, "TLKERAS_HOME": str(home), "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "200"}


def _read_all(folder: Path) -> None:
    """Reads all files, so that no way finds them on the disk and the next one in memory."""
    for path in folder.rglob("*"):
        if path.is_file():
            path.read_bytes()


if __name__ == "__main__":
    main()
