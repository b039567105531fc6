"""Batches of stored activations, in the order in which the images themselves would have come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tlkeras.data.pipeline import Share, ahead
from tlkeras.features.store import Rows

# Rows of a block that is read at once, and blocks whose rows are mixed with each other.
_BLOCK, _MIXED = 256, 8


@dataclass(frozen=True)
class Table:
    """Stored activations of labelled examples.

    Attributes:
        rows: The row of view v of example i stands at `i * views + v`.
        labels: int32 `(examples,)`.
        views: How many augmented versions there are of each example.
        dtypes: What each tensor at the frontier has in the model.
        classes: How many classes there are.
    """

    rows: Rows
    labels: np.ndarray
    views: int
    dtypes: Sequence[str]
    classes: int

    def __len__(self) -> int:
        return len(self.labels)


def evaluation_set(table: Table, batch_size: int, one_hot: bool = False) -> tf.data.Dataset:
    """Gives the examples in their order, once: batches of a tensor, or of a tuple of tensors, and labels."""
    read = _reader(table)

    def batch(positions):
        values, labels = read(positions * table.views), tf.gather(table.labels, positions)
        return values, tf.one_hot(labels, table.classes) if one_hot else labels

    return ahead(tf.data.Dataset.range(len(table)).batch(batch_size).map(batch))


def training_set(
    table: Table, batch_size: int, *, seed: int, epoch_range: tuple[int, int], mixup: float = 0.0
) -> tf.data.Dataset:
    """Gives the examples in a new order each epoch, one epoch after the other.

    In memory, order and batches are those of `tlkeras.data.pipeline.training_set`. Rows on disk are mixed within blocks
    that lie together, so that they are read in long stretches; the blocks come in a new order each epoch.

    Args:
        table: The activations.
        batch_size: Examples a batch at most; the batches of an epoch are of like size.
        seed: Decides order, views and mixup.
        epoch_range: First epoch and the one after the last.
        mixup: Alpha; each batch is mixed with itself in another order, by a share drawn from Beta(alpha, alpha), and so
            are the labels, which are one-hot then. Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018;
            between hidden layers: Verma et al., "Manifold Mixup", 2019.
    """
    read, last = _reader(table), len(table) - 1
    steps = Share().steps(len(table), batch_size)
    ends = np.arange(steps + 1) * len(table) // steps

    def batch(epoch, begin, end, order):
        if table.rows.is_in_memory:
            index = tf.random.experimental.index_shuffle(tf.range(begin, end), tf.stack([seed, epoch]), last)
        else:
            index = order[begin:end]
        labels, places = tf.gather(table.labels, index), index * table.views
        if table.views > 1:
            places += _view(index, seed, epoch, table.views)
        values = read(places)
        return (
            _mixed(values, labels, table.classes, mixup, [seed * 1_000_003 + epoch, begin])
            if mixup
            else (values, labels)
        )

    def epoch_of(epoch):
        order = tf.zeros([0], tf.int64)
        if not table.rows.is_in_memory:
            order = tf.numpy_function(lambda number: _block_order(table, seed, number), [epoch], tf.int64)
            order.set_shape([None])
        spans = tf.data.Dataset.from_tensor_slices((ends[:-1], ends[1:]))
        return spans.map(lambda begin, end: batch(epoch, begin, end, order))

    epochs = tf.data.Dataset.range(*epoch_range).flat_map(epoch_of)
    return ahead(epochs)


def given(tensors: Sequence):
    """Puts the tensors of a frontier as the rest of the model takes them: one, or a tuple."""
    return tensors[0] if len(tensors) == 1 else tuple(tensors)


def _reader(table: Table):
    """Makes a function from positions of rows to a tensor, or a tuple of tensors, in the types of the model."""
    if table.rows.is_in_memory:
        arrays = [tf.constant(array) for array in table.rows.arrays]

        def take(positions):
            return [tf.gather(array, positions) for array in arrays]
    else:
        kinds = table.rows.kinds

        def take(positions):
            taken = tf.numpy_function(table.rows.take, [positions], [dtype for _, dtype in kinds])
            taken = taken if isinstance(taken, list | tuple) else [taken]
            for tensor, (shape, _) in zip(taken, kinds, strict=True):
                tensor.set_shape([None, *shape])
            return taken

    def read(positions):
        return given([tf.cast(value, dtype) for value, dtype in zip(take(positions), table.dtypes, strict=True)])

    return read


def _view(index: tf.Tensor, seed: int, epoch: tf.Tensor, views: int) -> tf.Tensor:
    """Draws a view for each example, from the seed, the epoch and the example alone."""

    def draw(one):
        return tf.random.stateless_uniform([], tf.stack([seed * 1_000_003 + epoch, one]), 0, views, tf.int64)

    return tf.map_fn(draw, index)


def _mixed(values, labels, classes: int, alpha: float, seed):
    first, second = (tf.random.stateless_gamma([], tf.stack(seed) + [0, half], alpha) for half in (0, 1))
    share = first / (first + second)
    order = tf.argsort(tf.random.stateless_uniform(tf.shape(labels), tf.stack(seed) + [0, 2]))

    def mix(value):
        weight = tf.cast(share, value.dtype)
        return weight * value + (1 - weight) * tf.gather(value, order)

    return tf.nest.map_structure(mix, values), mix(tf.one_hot(labels, classes))


def _block_order(table: Table, seed: int, epoch: int) -> np.ndarray:
    """Orders the examples: blocks in a random order, and the rows of several blocks mixed."""
    random = np.random.default_rng([seed, int(epoch)])
    blocks = [np.unique(block // table.views) for block in table.rows.blocks(_BLOCK * table.views)]
    seen = np.zeros(len(table), bool)
    order = []
    blocks = [blocks[i] for i in random.permutation(len(blocks))]
    for start in range(0, len(blocks), _MIXED):
        mixed = np.unique(np.concatenate(blocks[start : start + _MIXED]))
        mixed = mixed[~seen[mixed]]
        seen[mixed] = True
        order.append(random.permutation(mixed))
    return np.concatenate(order).astype(np.int64)
