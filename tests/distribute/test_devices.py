import json
import subprocess
import sys

import pytest
import tensorflow as tf
import workers

from tlkeras.distribute import devices
from tlkeras.errors import TlkerasError

SHOW = "import sys, tlkeras.distribute as d; print(d.describe(d.strategy(sys.argv[1])))"


def described(spelling, env=None):
    command = [sys.executable, "-W", "ignore", "-c", SHOW, spelling]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env or workers.environments(1)[0])
    return (done.stdout or done.stderr).splitlines()[-1]


@pytest.mark.parametrize(
    ("spelling", "line"), [("auto", "1 x CPU"), ("cpu", "1 x CPU"), ("cpu:3", "3 x CPU, MirroredStrategy")]
)
def test_devices_of_one_machine(spelling, line):
    assert described(spelling) == line


def test_workers_know_who_they_are(tmp_path):
    program = tmp_path / "show.py"
    program.write_text(SHOW)
    lines = [text.splitlines()[-1] for text in workers.run_all(program, 2, "auto")]
    assert lines == [
        f"worker {index} of 2, chief {chief}, 1 x CPU each, MultiWorkerMirroredStrategy"
        for index, chief in enumerate(("yes", "no"))
    ]


@pytest.mark.parametrize(
    ("spelling", "message"),
    [
        ("cpus", "unknown devices. Did you mean 'cpu'?.*Received: 'cpus'"),
        ("auto:2", "unknown devices"),
        ("cpu:0", "1 or more. Received: 'cpu:0'"),
        ("cpu:two", "1 or more. Received: 'cpu:two'"),
    ],
)
def test_spellings_that_are_none(spelling, message):
    with pytest.raises(TlkerasError, match=message):
        devices.strategy(spelling)


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="there is a GPU")
@pytest.mark.parametrize("spelling", ["gpu", "gpu:0", "gpu:0,1"])
def test_a_gpu_that_is_not_there(spelling):
    with pytest.raises(TlkerasError, match=f"sees no GPU here, only the CPU.*Received: '{spelling}'"):
        devices.strategy(spelling)


def test_devices_are_chosen_before_tensorflow_is_used():
    tf.zeros(1) + 1
    with pytest.raises(TlkerasError, match="before TensorFlow is first used"):
        devices.strategy("cpu:2")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "TF_CONFIG is not"),
        ({"cluster": {"worker": ["a:1", "b:1"]}}, "TF_CONFIG is not"),
        ({"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}, "names 2 of worker.*index 2"),
        ({"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "worker", "index": 0}}, "Received: 'ps'"),
    ],
)
def test_clusters_that_are_none(config, message, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config if isinstance(config, str) else json.dumps(config))
    with pytest.raises(TlkerasError, match=message):
        devices.strategy()


def test_logical_devices_are_for_one_machine(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", workers.environments(2)[0]["TF_CONFIG"])
    with pytest.raises(TlkerasError, match="cpu:N is for one machine"):
        devices.strategy("cpu:2")


def test_a_cluster_of_one_is_this_machine(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}')
    assert devices.worker(devices.strategy()) == devices.Worker(0, 1)


@pytest.mark.parametrize(
    ("setting", "kind", "capabilities", "precision"),
    [
        ("auto", "CPU", [], "none"),
        ("auto", "TPU", [], "bfloat16"),
        ("auto", "GPU", [(7, 0), (8, 6)], "float16"),
        ("auto", "GPU", [(6, 1)], "none"),
        ("auto", "GPU", [(8, 0), (6, 1)], "none"),
        ("auto", "GPU", [(0, 0)], "none"),
        ("bfloat16", "CPU", [], "bfloat16"),
        ("none", "GPU", [(9, 0)], "none"),
    ],
)
def test_mixed_precision_is_for_what_is_fast_in_it(setting, kind, capabilities, precision):
    assert devices.precision_for(setting, kind, capabilities) == precision
