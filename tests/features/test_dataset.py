import numpy as np
import pytest
import tensorflow as tf

from tlkeras.features import dataset
from tlkeras.features.store import Store

COUNT, WIDTH = 1000, 3


@pytest.fixture(params=["memory", "disk"])
def table(request, tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path))
    names = [str(number) for number in range(2 * COUNT)]
    with Store.open({"model": "test"}, [((WIDTH,), "float16"), ((), "float32")]) as store:
        numbers = np.arange(2 * COUNT, dtype="float32")
        store.add(names, [np.stack([numbers % 7] * WIDTH, 1), numbers])
        rows = store.rows(names, 10**9 if request.param == "memory" else 0)
        yield dataset.Table(rows, np.arange(COUNT, dtype="int32") % 5, 2, ["float32", "float32"], 5)


def epochs_of(batches, steps):
    found = list(batches)
    return [found[first : first + steps] for first in range(0, len(found), steps)]


def test_each_example_comes_once_an_epoch_with_its_label(table):
    batches = dataset.training_set(table, 32, seed=3, epoch_range=(0, 2))
    for epoch in epochs_of(batches, 32):
        numbers = np.concatenate([second.numpy() for (_, second), _ in epoch])
        labels = np.concatenate([labels.numpy() for _, labels in epoch])
        assert sorted(numbers // 2) == list(range(COUNT))
        np.testing.assert_array_equal(numbers // 2 % 5, labels)
        # Of the two views of an example, one or the other.
        assert 400 < sum(numbers % 2) < 600


def test_an_epoch_depends_on_seed_and_number_alone(table):
    def numbers(seed, first, last):
        batches = dataset.training_set(table, 32, seed=seed, epoch_range=(first, last))
        return np.concatenate([second.numpy() for (_, second), _ in batches])

    both = numbers(3, 0, 2)
    np.testing.assert_array_equal(numbers(3, 1, 2), both[COUNT:])
    assert (both[:COUNT] != both[COUNT:]).any()
    assert (numbers(4, 0, 1) != both[:COUNT]).any()
    assert np.abs(np.diff(both[:COUNT])).mean() > 50


def test_evaluation_keeps_the_order(table):
    found = list(dataset.evaluation_set(table, 64))
    np.testing.assert_array_equal(np.concatenate([y.numpy() for _, y in found]), table.labels)
    np.testing.assert_array_equal(np.concatenate([x[1].numpy() for x, _ in found]), 2 * np.arange(COUNT))


def test_mixup_mixes_labels_as_it_mixes_features(table):
    (values, numbers), labels = next(iter(dataset.training_set(table, 32, seed=0, epoch_range=(0, 1), mixup=1.0)))
    plain = next(iter(dataset.training_set(table, 32, seed=0, epoch_range=(0, 1))))
    np.testing.assert_allclose(tf.reduce_sum(labels, -1), 1.0, rtol=1e-5)
    assert (labels.numpy().max(-1) < 1).any()
    np.testing.assert_allclose(tf.reduce_sum(numbers), tf.reduce_sum(plain[0][1]), rtol=1e-4)
    assert values.shape == (31, WIDTH)
