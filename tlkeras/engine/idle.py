"""How long training waits for its input: a pipeline that keeps up is never waited for."""

from __future__ import annotations

import tensorflow as tf


class Waiting:
    """Adds up the seconds between asking a set of batches for one and having it."""

    def __init__(self):
        self._seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)

    def watched(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Gives the same batches, and notes how long each was waited for."""
        asked = tf.data.Dataset.range(1).repeat().map(lambda _: tf.timestamp())

        def note(since, batch):
            with tf.control_dependencies([self._seconds.assign_add(tf.timestamp() - since)]):
                return tf.nest.map_structure(tf.identity, batch)

        options = tf.data.Options()
        # With a buffer of its own behind it, the clock would run while nobody waits.
        options.experimental_optimization.inject_prefetch = False
        return tf.data.Dataset.zip(asked, batches).map(lambda since, batch: note(since, batch)).with_options(options)

    def take(self) -> float:
        """Gives the seconds since it was asked last."""
        seconds = float(self._seconds.numpy())
        self._seconds.assign(0.0)
        return seconds
