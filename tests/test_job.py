"""The same command as several workers: real processes, a few pictures, and weights that are random."""

import contextlib
import csv
import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import workers
from helpers import write_photo

MAIN = [sys.executable, "-c", "from tlkeras.cli import main; main()", "train"]
SETTINGS = ["--weights=random", "--image-size=32", "--batch-size=8", "--dropout=0", "--epochs=3", "--trainable=top:2"]
SETTINGS += ["--features=off"]


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A number of pictures that neither workers nor batches divide."""
    folder = tmp_path_factory.mktemp("pictures")
    for number in range(71):
        write_photo(folder / "abc"[number % 3] / f"{number:02}.png", number)
    return folder


def command(data, output, *more):
    return [*MAIN, str(data), *SETTINGS, f"--output={output}", *more]


def history(output):
    with (output / "history.csv").open() as file:
        return np.array([[float(value) for value in row.values()] for row in csv.DictReader(file)])


def accuracy(output):
    return json.loads((output / "metrics.json").read_text())["accuracy"]["value"]


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_workers_together_are_one_process(data, tmp_path, count):
    for number in (1, count):
        ended = workers.run(command(data, tmp_path / str(number)), number)
        assert [code for code, _ in ended] == [0] * number, ended[0][1]
    said = [text for _, text in ended]
    assert "worker 0 of" in said[0] and "test accuracy" in said[0] and "accuracy" not in said[1]
    one, many = tmp_path / "1", tmp_path / str(count)
    np.testing.assert_allclose(history(many), history(one), rtol=1e-4)
    assert accuracy(many) == accuracy(one) and (many / "export" / "1" / "saved_model.pb").is_file()
    assert {path.name for path in many.iterdir()} == {path.name for path in one.iterdir()}


@contextlib.contextmanager
def begun(data, output):
    """Gives two workers that have done an epoch; none is left in the end."""
    with contextlib.ExitStack() as held:
        started = []
        for env in workers.environments(2):
            worker = subprocess.Popen(
                command(data, output, "--resume"), env=env, text=True, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
            )
            started.append(held.enter_context(worker))
            held.callback(worker.kill)
        while not (output / "history.csv").exists():
            assert all(one.poll() is None for one in started), started[0].communicate()
            time.sleep(0.05)
        yield started


@pytest.mark.slow
@pytest.mark.parametrize(("killed", "number"), [(0, signal.SIGKILL), (1, signal.SIGKILL), (1, signal.SIGTERM)])
def test_a_worker_that_goes_ends_the_others_and_the_run_goes_on(data, tmp_path, killed, number):
    output = tmp_path / "run"
    with begun(data, output) as started:
        started[killed].send_signal(number)
        other = started[1 - killed]
        _, said = other.communicate(timeout=60)
        assert other.returncode == 75 and f"worker {killed}" in said and "Traceback" not in said
        assert started[killed].wait(60) == (75 if number == signal.SIGTERM else -number)
    (ended, *_) = workers.run(command(data, output, "--resume"), 2)
    assert ended[0] == 0 and "continuing after epoch" in ended[1]
    workers.run(command(data, tmp_path / "whole"), 1)
    np.testing.assert_allclose(history(output), history(tmp_path / "whole"), rtol=1e-4)


@pytest.mark.slow
def test_workers_train_a_module_of_tf_hub(data, hub_module, tmp_path):
    for number in (1, 2):
        module = f"--backbone=hub:{hub_module('keras2')}"
        ended = workers.run(
            command(data, tmp_path / str(number), module, "--weights=imagenet", "--trainable=all"), number
        )
        assert [code for code, _ in ended] == [0] * number, ended[0][1]
    np.testing.assert_allclose(history(tmp_path / "2"), history(tmp_path / "1"), rtol=1e-4)


def test_statistics_of_a_module_of_tf_hub_train_on_one_device_only(data, hub_module, tmp_path):
    module = [f"--backbone=hub:{hub_module('keras2')}", "--weights=imagenet", "--trainable=all", "--batch-norm=train"]
    ((code, said),) = workers.run(command(data, tmp_path / "run", *module, "--devices=cpu:2"), 1)
    assert code == 2 and "on one device only" in said and "Received: 'train' on 2 devices" in said


@pytest.mark.slow
def test_workers_train_on_texts(sst2, tmp_path):
    pytest.importorskip("tensorflow_text", reason="needs the extra text")
    table = tmp_path / "few.tsv"
    table.write_text("".join((sst2 / "train.tsv").read_text().splitlines(keepends=True)[:150]))
    texts = ["--backbone=minilm_l6", "--text-column=1", "--label-column=2", "--dropout=0", "--epochs=1"]
    for number in (1, 2):
        # One process would keep what the frozen part gives in bfloat16 where the processor has it.
        arguments = [*MAIN, f"tsv:{table}", *texts, "--features=float32", f"--output={tmp_path / str(number)}"]
        ended = workers.run(arguments, number)
        assert [code for code, _ in ended] == [0] * number, ended[0][1]
    np.testing.assert_allclose(history(tmp_path / "2"), history(tmp_path / "1"), rtol=1e-4)


def test_data_that_one_machine_lacks_is_told_before_a_run_is_made(data, tmp_path):
    folders = [tmp_path / "machine 0", tmp_path / "machine 1"]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "photos").symlink_to(data)
    started = [
        subprocess.Popen(
            command("photos", tmp_path / "run"), env=env, cwd=folder, text=True, stdout=-3, stderr=subprocess.PIPE
        )
        for folder, env in zip(folders, workers.environments(2), strict=True)
    ]
    for one in started:
        _, said = one.communicate(timeout=120)
        assert one.returncode == 2 and "all workers need the data under the same path" in said
    assert not (tmp_path / "run" / "split.csv").exists()


def test_devices_that_one_machine_lacks_end_all(data, tmp_path):
    started = [
        subprocess.Popen(
            [*command(data, tmp_path / "run"), f"--devices={devices}"], env=env, text=True, stderr=subprocess.PIPE
        )
        for devices, env in zip(("auto", "cpu:2"), workers.environments(2), strict=True)
    ]
    for one in started:
        _, said = one.communicate(timeout=120)
        assert one.returncode == 2 and "cpu:N is for one machine" in said


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_a_worker_killed_while_tensorflow_starts_ends_the_other(data, tmp_path, killed):
    program = """
import os, sys
from tlkeras.distribute import devices
if len(sys.argv) > 1 and sys.argv.pop(1) == "killed":
    devices._many_workers = lambda *_: os.kill(os.getpid(), 9)
from tlkeras.cli import main
main()
"""
    started = [
        subprocess.Popen(
            [sys.executable, "-c", program, "killed" if index == killed else "well", *command(data, tmp_path)[3:]],
            env=env,
            text=True,
            stderr=subprocess.PIPE,
        )
        for index, env in enumerate(workers.environments(2))
    ]
    _, said = started[1 - killed].communicate(timeout=150)
    assert started[1 - killed].returncode == 75 and f"worker {killed}" in said and "went away" in said
    started[killed].communicate(timeout=60)
    assert started[killed].returncode == -9


def test_workers_of_different_specs(data, tmp_path):
    started = [
        subprocess.Popen(
            [*command(data, tmp_path / "run"), f"--seed={seed}"], env=env, text=True, stderr=subprocess.PIPE
        )
        for seed, env in enumerate(workers.environments(2))
    ]
    for one in started:
        _, said = one.communicate(timeout=60)
        assert one.returncode == 2 and "seed 1 != 0" in said and not (tmp_path / "run").exists()
