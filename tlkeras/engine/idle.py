"""How long training waits for its input: a pipeline that keeps up is never waited for."""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf


class Waiting:
    """Adds up the seconds between asking a set of batches for one and having it."""

    def __init__(self):
        self._seconds = 0.0

    def watched(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Gives the same batches, and notes how long each was waited for."""
        # TensorFlow's own clock is refused where its operations are to repeat exactly.
        asked = tf.data.Dataset.range(1).repeat().map(lambda _: tf.numpy_function(time.monotonic, [], tf.float64))

        def note(since, batch):
            with tf.control_dependencies([tf.numpy_function(self._add, [since], tf.float64)]):
                return tf.nest.map_structure(tf.identity, batch)

        options = tf.data.Options()
        # With a buffer of its own behind it, the clock would run while nobody waits.
        options.experimental_optimization.inject_prefetch = False
        return tf.data.Dataset.zip(asked, batches).map(note).with_options(options)

    def _add(self, since: float) -> np.float64:
        self._seconds += time.monotonic() - since
        return np.float64(self._seconds)

    def take(self) -> float:
        """Gives the seconds since it was asked last."""
        seconds, self._seconds = self._seconds, 0.0
        return seconds
