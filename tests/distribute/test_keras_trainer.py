"""One process, many workers and many devices of one machine train the same model, to rounding."""

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import workers

from tlkeras.distribute import keras_private, keras_trainer
from tlkeras.errors import TlkerasError

JOB = Path(__file__).parent / "job.py"
# A batch of 8 does not divide among 3 or 5 rows left, and 37 rows do not among workers.
USUAL = ["slices_executions", "metrics", "slices_class_weight"]
MORE = [
    "dense",
    "clipped",
    "two_heads",
    "arrays",
    "slices",
    "executions",
    "sequential",
    "subclassed",
    "class_weight",
    "array_weights",
    "shuffled",
]
MORE += ["slices_shuffled", "arrays_shuffled", "momentum", "loss_scale", "averaged", "embedded", "seen_arrays"]
ALL = [*USUAL, *MORE, "seen", "seen_slices", "synchronized", "own_step"]


@pytest.fixture(scope="session")
def trained(tmp_path_factory):
    """Gives a function that trains cases in a number of workers, once, and reads what each found."""
    done = {}

    def train(count, devices, names):
        key = (count, devices, tuple(names))
        if key not in done:
            folder = tmp_path_factory.mktemp(f"{count}-workers")
            workers.run_all(JOB, count, folder, devices, *names, timeout=900)
            done[key] = {name: [read(folder, name, index) for index in range(count)] for name in names} | {
                "folder": folder
            }
        return done[key]

    return train


def read(folder, name, index):
    return json.loads((folder / f"{name}-{index}.json").read_text())


def assert_equal(found, expected, rtol=1e-6):
    for kind in ("history", "evaluate"):
        assert found[kind].keys() == expected[kind].keys()
        for name, values in expected[kind].items():
            np.testing.assert_allclose(found[kind][name], values, rtol, 1e-7, err_msg=name)
    # Of all weights the largest says what rounding is: a bias alone may come to lie at zero, out of steps that do not.
    largest = max(np.abs(weights).max() for weights in expected["weights"])
    for weights, others in zip(found["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(weights, others, rtol, rtol * largest)
    if expected["predict"]:
        np.testing.assert_allclose(found["predict"], expected["predict"], 1e-6)


@pytest.fixture(scope="session")
def alone(trained):
    return trained(1, "auto", [*USUAL, "synchronized"])


@pytest.fixture(scope="session")
def two(trained):
    return trained(2, "auto", [*USUAL, "synchronized", "seen", "seen_steps", "masks", "stock"])


@pytest.mark.parametrize("name", USUAL)
def test_two_workers_equal_one_process(name, alone, two):
    for found in two[name]:
        assert_equal(found, alone[name][0])


def test_synchronized_batch_normalization_equals_one_process(alone, two):
    # Its variance is a difference of two sums, which leaves less digits.
    for found in two["synchronized"]:
        assert_equal(found, alone["synchronized"][0], 1e-5)


def test_all_workers_see_the_same_logs(two):
    assert all(two[name][0]["history"] == two[name][1]["history"] for name in USUAL)


def test_each_sample_is_seen_once_in_an_epoch(two):
    for found in two["seen"]:
        assert np.array_equal(found["history"]["seen"], np.ones((3, 37)))
        assert np.array_equal(np.array(found["history"]["val_seen"]).sum(1), [11, 11, 11])


def test_epochs_of_some_steps_continue_where_the_last_one_stopped(two):
    seen = np.array(two["seen_steps"][0]["history"]["seen"])
    # Two batches of 8 an epoch; of the third there is one of 8 and one of 5 left.
    assert seen.sum(1).tolist() == [16, 16, 5]
    assert seen.max(0).tolist() == [1] * 37


def test_no_two_rows_drop_the_same(two):
    for found in two["masks"]:
        for masks in found["history"]["masks"]:
            assert len({tuple(mask) for mask in masks}) == 37


def test_stock_fit_still_fails_under_many_workers(two):
    # When it does not, most of the module can go.
    assert all("PerReplica" in found for found in two["stock"])


def test_a_saved_model_needs_nothing_of_ours(two):
    program = (
        "import sys; sys.modules['tlkeras'] = None; import keras; "
        f"model = keras.models.load_model({str(two['folder'] / 'model.keras')!r}); "
        "print(type(model).__module__, [float(abs(w).sum()) for w in model.get_weights()])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, check=True)
    expected = [float(np.abs(weights).sum()) for weights in two["slices_executions"][0]["weights"]]
    module, _, sums = done.stdout.splitlines()[-1].partition(" ")
    assert module.startswith("keras.")
    np.testing.assert_allclose(json.loads(sums), expected, 1e-6)


@pytest.mark.parametrize("name", USUAL[1:])
def test_two_devices_of_one_machine_equal_one(name, alone, trained):
    assert_equal(trained(1, "cpu:2", USUAL[1:])[name][0], alone[name][0])


@pytest.mark.slow
def test_workers_that_take_whole_files_see_each_sample_once(trained):
    for found in trained(2, "auto", ["seen_files"])["seen_files"]:
        assert np.array_equal(found["history"]["seen"], np.ones((3, 37)))


@pytest.mark.slow
@pytest.mark.parametrize(("count", "devices"), [(2, "auto"), (4, "auto"), (1, "cpu:2"), (1, "cpu:4")])
def test_every_case_equals_one_process(count, devices, trained):
    alone, many = trained(1, "auto", ALL), trained(count, devices, ALL)
    for name in ALL:
        for found in many[name]:
            if name != "own_step":
                assert_equal(found, alone[name][0], 1e-5 if name == "synchronized" else 2e-6)
            assert np.isfinite(found["history"]["loss"]).all()


def test_a_model_of_one_replica_is_left_as_it_is():
    model = keras.Sequential([keras.layers.Dense(1)])
    before = dict(vars(model))
    assert keras_trainer.enable(model) is model
    assert vars(model).keys() == before.keys()


def test_what_is_private_to_keras_is_as_it_was():
    keras_private.check_keras()


def test_another_keras_is_told_in_one_line():
    with pytest.raises(TlkerasError, match=f"_make_function is another.*Keras {keras.__version__}"):
        keras_private.check_keras(((keras.Model, "_make_function", ("self", "step", "more")),))
    with pytest.raises(TlkerasError, match="gone is another"):
        keras_private.check_keras(((keras.Model, "gone", ("self",)),))
