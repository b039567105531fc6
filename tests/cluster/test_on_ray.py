"""Workers as processes of Ray: a real Ray on this machine for each run, a few pictures, and weights that are random."""

import csv
import importlib.util
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest
import workers

from tlkeras.cluster import ray_connection
from tlkeras.errors import TlkerasError

MAIN = [sys.executable, "-c", "from tlkeras.cli import main; main()", "train"]
SETTINGS = ["--weights=random", "--image-size=32", "--batch-size=8", "--dropout=0", "--epochs=3", "--trainable=top:2"]
RAY = ["--ray=local", "--workers=2"]

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or len(os.sched_getaffinity(0)) < 2,
    reason="needs pip install 'tlkeras[ray]', and two processors",
)


@pytest.mark.parametrize(
    ("address", "devices", "expected"),
    [
        ("local", "gpu:0,1", "say auto, cpu or gpu"),
        pytest.param("nowhere", "auto", "HOST:PORT", marks=needs_ray),
        pytest.param("http://127.0.0.1:80", "auto", "HOST:PORT", marks=needs_ray),
        pytest.param("127.0.0.1:1", "cpu", "no Ray answers", marks=needs_ray),
    ],
)
def test_what_is_no_ray(address, devices, expected):
    with pytest.raises(TlkerasError, match=expected):
        ray_connection.check(address, devices)


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TlkerasError, match=r"pip install 'tlkeras\[ray\]'"):
        ray_connection.check("local", "auto")


def test_a_worker_starts_no_workers(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", workers.environments(2)[1]["TF_CONFIG"])
    with pytest.raises(TlkerasError, match="leave out --ray"):
        ray_connection.check("local", "auto")


@pytest.mark.parametrize("alone", RAY)
def test_address_and_workers_go_together(alone):
    ended = subprocess.run([*MAIN, "digits", "--output=run", alone], capture_output=True, text=True)
    assert ended.returncode == 2 and "go together" in ended.stderr


def run(data, output, *more):
    return workers.run([*MAIN, str(data), *SETTINGS, f"--output={output}", *more], 1)[0]


def history(output):
    with (output / "history.csv").open() as file:
        return np.array([[float(value) for value in row.values()] for row in csv.DictReader(file)])


@contextmanager
def begun(data, output):
    """Starts a run on Ray and waits until an epoch is done; gives it and the processes of its workers."""
    command = [*MAIN, str(data), *SETTINGS, f"--output={output}", *RAY]
    (environment,) = workers.environments(1)
    with subprocess.Popen(command, env=environment, text=True, stdout=-1, stderr=-1) as started:
        try:
            while not (output / "history.csv").exists():
                assert started.poll() is None, started.communicate()
                time.sleep(0.05)
            yield started, ray_workers(started.pid)
        finally:
            started.kill()


def ray_workers(pid):
    rows = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True).stdout.splitlines()[1:]
    processes = [(int(number), int(parent), name) for number, parent, name in (row.split(None, 2) for row in rows)]
    raylets = {number for number, parent, _ in processes if parent == pid}
    return [number for number, parent, name in processes if parent in raylets and "RayTrainWorker" in name]


@needs_ray
@pytest.mark.slow
def test_workers_of_ray_are_one_process(photo_folder, tmp_path):
    assert run(photo_folder, tmp_path / "one")[0] == 0
    code, said = run(photo_folder, tmp_path / "ray", *RAY)
    assert code == 0 and "worker 0 of 2" in said and said.count("epoch 3/3") == said.count("test accuracy") == 1
    np.testing.assert_allclose(history(tmp_path / "ray"), history(tmp_path / "one"), rtol=1e-4)
    assert {path.name for path in (tmp_path / "ray").iterdir()} == {path.name for path in (tmp_path / "one").iterdir()}


@needs_ray
@pytest.mark.slow
def test_a_mistake_is_one_line(photo_folder, tmp_path):
    code, said = run(photo_folder / "no such folder", tmp_path / "run", *RAY)
    assert code == 2 and "does not exist" in said.splitlines()[-1] and said.count("Error") == 1
    assert "Traceback" not in said and not (tmp_path / "run").exists()
    code, said = run(photo_folder, tmp_path / "run", "--ray=local", "--workers=1000")
    assert code == 2 and said.startswith("Error: 1000 workers need 1000 CPU") and said.count("\n") == 1


@needs_ray
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_what_is_lost_goes_on(photo_folder, tmp_path, number):
    output = tmp_path / "run"
    with begun(photo_folder, output) as (started, of_ray):
        assert len(of_ray) == 2
        os.kill(of_ray[1] if number == signal.SIGKILL else started.pid, number)
        _, said = started.communicate(timeout=60)
        assert started.returncode == 75 and "--resume" in said and said.count("\n") == 1
    code, said = run(photo_folder, output, *RAY, "--resume")
    assert code == 0 and "continuing after epoch" in said
    assert run(photo_folder, tmp_path / "whole")[0] == 0
    np.testing.assert_allclose(history(output), history(tmp_path / "whole"), rtol=1e-4)
