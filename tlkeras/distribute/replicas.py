"""What the replicas of a model tell each other in a step: how many rows each has, and sums of what each computed.

Everything here is called in a replica context, by all replicas in the same order.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

import keras
import tensorflow as tf

_STEP = threading.local()


class Rows:
    """The rows of a global batch that one replica got: `own` of them, none where the batch was too small for all."""

    def __init__(self, x):
        first = next(leaf for leaf in tf.nest.flatten(x) if leaf is not None)
        self.own = tf.shape(first)[0]
        # It is known only where batches have a shape of their own.
        self.may_be_none = not tf.get_static_value(self.own)
        self._fraction = None

    def or_a_blank(self, data):
        """Gives the data, or one row of zeros where there is none: not all kernels can do without.

        With oneDNN, convolutions of no rows have the shape of what they were given. A blank counts nowhere.
        """
        if not self.may_be_none:
            return data
        blank = tf.nest.map_structure(_blank, data)
        return tf.cond(self.own > 0, lambda: data, lambda: blank)

    def fraction(self) -> tf.Tensor:
        """Gives the part of the global batch's rows that are this replica's, 0 to 1."""
        if self._fraction is None:
            own = tf.cast(self.own, tf.float32)
            self._fraction = own / _context().all_reduce(tf.distribute.ReduceOp.SUM, own)
        return self._fraction

    def if_any(self, update: Callable[[], object]) -> None:
        """Calls `update` where the replica has rows: a mean over none is not a number."""
        if not self.may_be_none:
            update()
            return
        tf.cond(self.own > 0, lambda: (update(), tf.constant(True))[1], lambda: tf.constant(False))

    def or_zeros(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """Gives the tensors where the replica has rows, and else zeros in their place."""
        if not self.may_be_none or not tensors:
            return list(tensors)
        zeros = [tf.zeros_like(tensor) for tensor in tensors]
        return tf.nest.flatten(tf.cond(self.own > 0, lambda: list(tensors), lambda: zeros))


@contextlib.contextmanager
def step_of(rows: Rows) -> Iterator[None]:
    """Tells `moments` within the block which rows the replica has; each replica is traced in a thread of its own."""
    _STEP.rows = rows
    try:
        yield
    finally:
        _STEP.rows = None


def in_a_step() -> bool:
    return getattr(_STEP, "rows", None) is not None


def moments(x: tf.Tensor, axes: Sequence[int]) -> tuple[tf.Tensor, tf.Tensor]:
    """Gives mean and variance over the rows of all replicas, as Keras' synchronized ones do but by one all-reduce."""
    real = tf.cast(_STEP.rows.own > 0, x.dtype)
    count = tf.cast(tf.size(x), x.dtype) / tf.cast(tf.size(tf.reduce_sum(x, axes)), x.dtype)
    own = tf.stack([tf.reduce_sum(x, axes), tf.reduce_sum(tf.square(x), axes)])
    own = tf.concat([own, tf.fill([1, tf.shape(own)[1]], count)], 0) * real
    total, squares, count = tf.unstack(_context().all_reduce(tf.distribute.ReduceOp.SUM, own))
    mean = total / count
    return mean, tf.maximum(squares / count - tf.square(mean), 0.0)


def exchange(
    rows: Rows,
    gradients: Sequence = (),
    averaged: Sequence[keras.Variable] = (),
    summed: Sequence[keras.Variable] = (),
) -> tuple[list, list[tuple[keras.Variable, tf.Tensor]]]:
    """Tells all replicas what each computed, by one all-reduce for each dtype: each has to be waited for.

    Args:
        rows: Rows of the replica.
        gradients: Are summed; a None stays a None.
        averaged: Variables that are set to their mean over the replicas, weighed by their rows.
        summed: Variables whose sum is returned; they keep what they hold.

    Returns:
        The gradients, and each variable of `summed` with its sum.
    """
    present = [gradient for gradient in gradients if gradient is not None]
    means, sums = _by_dtype(averaged), _by_dtype(summed)
    weighed = [_pack(group) * tf.cast(rows.fraction(), group[0].dtype) for group in means]
    dense = iter(rows.or_zeros([*(one for one in present if isinstance(one, tf.Tensor)), *weighed]))
    present = [next(dense) if isinstance(gradient, tf.Tensor) else gradient for gradient in present]
    totals = iter(_sum([*present, *dense, *map(_pack, sums)]))
    gradients = [None if gradient is None else next(totals) for gradient in gradients]
    for group in means:
        for variable, mean in _unpack(group, next(totals)):
            variable.assign(mean)
    return gradients, [pair for group in sums for pair in _unpack(group, next(totals))]


def _sum(values: Sequence) -> list:
    """Sums each value over the replicas; those of one dtype go together."""
    found = {}
    for group in _by_dtype(values):
        totals = _context().all_reduce(tf.distribute.ReduceOp.SUM, group)
        found.update(zip(map(id, group), totals, strict=True))
    return [found[id(value)] for value in values]


def _blank(tensor):
    if not isinstance(tensor, tf.Tensor):
        return tensor
    shape = tf.concat([[1], tf.maximum(tf.shape(tensor)[1:], 1)], 0)
    return tf.ensure_shape(tf.zeros(shape, tensor.dtype), [None, *tensor.shape[1:]])


def _by_dtype(values: Sequence) -> list[list]:
    groups: dict[object, list] = {}
    for value in values:
        groups.setdefault(value.dtype, []).append(value)
    return list(groups.values())


def _pack(variables: Sequence[keras.Variable]) -> tf.Tensor:
    return tf.concat([tf.reshape(variable.value, [-1]) for variable in variables], 0)


def _unpack(variables: Sequence[keras.Variable], packed: tf.Tensor) -> list[tuple[keras.Variable, tf.Tensor]]:
    parts = tf.split(packed, [variable.shape.num_elements() for variable in variables])
    return [(variable, tf.reshape(part, variable.shape)) for variable, part in zip(variables, parts, strict=True)]


def _context() -> tf.distribute.ReplicaContext:
    return tf.distribute.get_replica_context()
