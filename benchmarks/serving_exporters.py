"""Exporters that are killed, or that race: whatever has a number must load, and answer its golden requests."""

from __future__ import annotations

import collections
import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random

import tensorflow as tf

from tlkeras import consoles
from tlkeras.backbones.text import needs
from tlkeras.errors import TlkerasError
from tlkeras.export import golden, replay
from tlkeras.export.contract import read_about
from tlkeras.export.messages import outputs_of
from tlkeras.export.native_process import NativeProcess
from tlkeras.export.python_runtime import PythonRuntime
from tlkeras.files import UNFINISHED

_MAIN = [sys.executable, "-c", "from tlkeras.cli import main; main()"]
_GOLDEN_BATCH = 3


def kill(run: Path, times: int, seed: int) -> None:
    """Kills exporters between their start and a bit past the usual end, and checks all that has a number then."""
    random, rows = Random(seed), []
    with tempfile.TemporaryDirectory() as scratch:
        copy = _copy(run, Path(scratch))
        begin = time.monotonic()
        subprocess.run(_words(copy), check=True, stdout=subprocess.DEVNULL)
        usual = time.monotonic() - begin
        checked = {version.name: _fault(version) for version in _numbered(copy / "export")}
        print(f"an export takes {usual:.0f} s", file=sys.stderr, flush=True)
        for number in range(1, times + 1):
            seconds = random.uniform(0, 1.05 * usual)
            exporter = subprocess.Popen(_words(copy), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                exporter.wait(seconds)
                ended = "by itself" if exporter.returncode == 0 else f"with {exporter.returncode}"
            except subprocess.TimeoutExpired:
                os.kill(exporter.pid, signal.SIGKILL)
                exporter.wait()
                ended = "killed"
            new = [path for path in _numbered(copy / "export") if path.name not in checked]
            for version in new:
                checked[version.name] = _fault(version)
            unfinished = len(list((copy / "export").glob(f"{UNFINISHED}*")))
            rows.append((ended, len(new), unfinished))
            print(f"{number}: {ended} after {seconds:.1f} s; new: {len(new)}, unfinished: {unfinished}", flush=True)
        subprocess.run(_words(copy), check=True, stdout=subprocess.DEVNULL)
        left = len(list((copy / "export").glob(f"{UNFINISHED}*")))
        for version in _numbered(copy / "export"):
            checked[version.name] = _fault(version)
    faults = [f"{name}: {fault}" for name, fault in checked.items() if fault]
    ends = collections.Counter(ended for ended, _, _ in rows)
    table = consoles.table("exports", "count")
    for ended, count in ends.items():
        table.add_row(f"ended {ended}" if ended != "killed" else "killed", str(count))
    table.add_row(
        "killed with something unfinished", str(sum(1 for ended, _, more in rows if ended == "killed" and more))
    )
    table.add_row("killed and numbered already", str(sum(new for ended, new, _ in rows if ended == "killed")))
    table.add_row("numbered, loaded and answered rightly", str(len(checked) - len(faults)))
    table.add_row("numbered and faulty", str(len(faults)))
    table.add_row("unfinished after one more export", str(left))
    consoles.make().print(table)
    print(*faults, sep="\n")


def poll(run: Path, minutes: float) -> None:
    """Has two exporters write and remove versions, and loads the newest one every second as a server would."""
    loads, faults, exports = collections.Counter(), [], []
    with tempfile.TemporaryDirectory() as scratch:
        copy = _copy(run, Path(scratch))
        subprocess.run(_words(copy), check=True, stdout=subprocess.DEVNULL)
        until = time.monotonic() + 60 * minutes

        def export() -> None:
            while time.monotonic() < until:
                done = subprocess.run([*_words(copy), "--keep", "3"], capture_output=True, text=True)
                exports.append(done.returncode)
                if done.returncode:
                    faults.append(f"an exporter: {done.stderr.strip()[-300:]}")

        exporters = [threading.Thread(target=export) for _ in range(2)]
        for exporter in exporters:
            exporter.start()
        seen = set()
        while any(exporter.is_alive() for exporter in exporters):
            newest = _numbered(copy / "export")[-1]
            runtime = ("C", "Python")[loads.total() % 2]
            fault = _fault(newest, runtime, requests=1)
            loads[runtime] += 1
            seen.add(newest.name)
            if fault:
                faults.append(f"version {newest.name} in {runtime}: {fault}")
            print(f"version {newest.name} in {runtime}: {fault or 'answered'}", file=sys.stderr, flush=True)
            time.sleep(1)
        left = [path.name for path in _numbered(copy / "export")]
    table = consoles.table("what", "count")
    table.add_row("exports", str(len(exports)))
    table.add_row("loads in the C runtime", str(loads["C"]))
    table.add_row("loads in Python", str(loads["Python"]))
    table.add_row("versions that were loaded", str(len(seen)))
    table.add_row("versions in the end", str(len(left)))
    table.add_row("failures", str(len(faults)))
    consoles.make().print(table)
    print(*faults, sep="\n")


def _copy(run: Path, scratch: Path) -> Path:
    return Path(shutil.copytree(run, scratch / "run", ignore=shutil.ignore_patterns("export")))


def _words(run: Path) -> list[str]:
    return [*_MAIN, "export", str(run)]


def _numbered(folder: Path) -> list[Path]:
    """What TensorFlow Serving takes for versions, oldest first: all that has a number for a name."""
    return sorted((path for path in folder.glob("*") if path.name.isdecimal()), key=lambda path: int(path.name))


def _fault(version: Path, runtime: str = "C", requests: int | None = None) -> str | None:
    """Loads a version and asks for its golden requests; says what went wrong."""
    try:
        about, recorded = read_about(version), golden.read(version)
        count = requests or _GOLDEN_BATCH
        if requests:
            recorded = _first(recorded, requests)
        if runtime == "Python":
            for package in about.needs:
                needs(package)
            replay.replay(PythonRuntime(version).ask, recorded, about, count)
            return None
        with NativeProcess(version, about.needs) as process:

            def ask(log):
                reply = process.ask(log)
                if reply.code:
                    raise TlkerasError(reply.error)
                return outputs_of(reply.response)

            replay.replay(ask, recorded, about, count)
    except (TlkerasError, OSError, tf.errors.OpError) as error:
        return str(error)
    return None


def _first(recorded: golden.Golden, count: int) -> golden.Golden:
    rows = ("requests", "logits", "probabilities", "features", "classes", "scores", "errors", "is_unknown")
    told = {name: getattr(recorded, name) for name in rows}
    return dataclasses.replace(recorded, **{name: of[:count] for name, of in told.items() if of is not None})
