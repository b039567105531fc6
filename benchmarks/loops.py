"""The loops that are compared: `fit`, and what one writes by hand with `strategy.run`; with the same model and data."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf
from replica import CLASSES

import tlkeras

SUM = tf.distribute.ReduceOp.SUM


class Loops:
    """Models of one process, one for each of what is trainable, and the loops that train them.

    - `fit`: stock `fit` of a model after `tlkeras.distribute.enable`, with the accuracy, and a callback that reads the
      logs of each step, as `tlkeras train` has.
    - `bare`: a step in `strategy.run`, no metric, the loss summed over the replicas, nothing read before the last step.
    - `unreduced`: the same, but each replica applies its own gradients.
    - `reduce`: only the all-reduce, of tensors as large as the gradients and as many.
    """

    def __init__(self, devices: str, backbone: str, image_size: int):
        self._strategy = tlkeras.distribute.strategy(devices)
        self._backbone, self._size = backbone, image_size
        self._models: dict[str, keras.Model] = {}
        self._steps: dict[tuple[str, str], Callable] = {}

    def run(self, trainable: str, loop: str, rows: int, steps: int) -> tuple[float, float]:
        """Runs steps of `rows` images of all replicas together.

        Returns:
            Seconds and CPU seconds from the first batch to the last loss.
        """
        with self._strategy.scope():
            model = self._models.get(trainable) or self._models.setdefault(trainable, self._model(trainable))
            if loop == "fit":
                return self._fit(model, self._data(rows), steps)
            if (trainable, loop) not in self._steps:
                step = self._reduce(model) if loop == "reduce" else self._bare(model, reduced=loop == "bare")
                self._steps[trainable, loop] = step
            step, data = self._steps[trainable, loop], self._data(rows)
            begun = _now()
            iterator = iter(data)
            for _ in range(steps):
                loss = step(iterator)
            float(loss)
            return _since(begun)

    def _model(self, trainable: str) -> keras.Model:
        classes = [f"class{index}" for index in range(CLASSES)]
        options = {"trainable": trainable, "weights": "random", "image_size": self._size}
        model = tlkeras.distribute.enable(tlkeras.build(self._backbone, classes=classes, **options))
        model.compile(optimizer="adam", loss=_loss(), metrics=["accuracy"], jit_compile=False)
        return model

    def _data(self, rows: int):
        """One batch in memory again and again, of a size that the graph does not know, as when files are read."""

        def make(context: tf.distribute.InputContext) -> tf.data.Dataset:
            many = rows // self._strategy.num_replicas_in_sync
            numbers = np.random.default_rng(context.input_pipeline_id)
            x = numbers.uniform(0, 255, (many, self._size, self._size, 3)).astype("float32")
            y = numbers.integers(0, CLASSES, many).astype("int32")
            data = tf.data.Dataset.from_tensors((x, y)).repeat()
            return data.map(lambda x, y: (_of_any_size(x), _of_any_size(y))).prefetch(2)

        return self._strategy.distribute_datasets_from_function(make)

    def _fit(self, model: keras.Model, data, steps: int) -> tuple[float, float]:
        clock = _Clock()
        model.fit(data, steps_per_epoch=steps, verbose=0, shuffle=False, callbacks=[clock])
        return clock.took

    def _bare(self, model: keras.Model, reduced: bool) -> Callable:
        loss_of, optimizer = _loss(), keras.optimizers.Adam()
        optimizer.build(model.trainable_variables)
        if not reduced:
            vars(optimizer)["_all_reduce_sum_gradients"] = list
        replicas = self._strategy.num_replicas_in_sync

        def step(x, y):
            with tf.GradientTape() as tape:
                loss = loss_of(y, model(x, training=True)) / replicas
            gradients = tape.gradient(loss, model.trainable_variables)
            optimizer.apply_gradients(zip(gradients, model.trainable_variables, strict=True))
            return loss

        return self._looped(lambda iterator: self._strategy.run(step, next(iterator)))

    def _reduce(self, model: keras.Model) -> Callable:
        def step():
            values = [tf.identity(variable.value) for variable in model.trainable_variables]
            summed = tf.distribute.get_replica_context().all_reduce(SUM, values)
            return tf.add_n([tf.reshape(value, [-1])[0] for value in summed])

        return self._looped(lambda _: self._strategy.run(step))

    def _looped(self, run: Callable) -> Callable:
        return tf.function(lambda iterator: self._strategy.reduce(SUM, run(iterator), axis=None))


class _Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        self._begun = _now()

    def on_train_batch_end(self, batch, logs=None):
        float(logs["loss"])

    def on_epoch_end(self, epoch, logs=None):
        self.took = _since(self._begun)


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


def _since(begun: tuple[float, float]) -> tuple[float, float]:
    return time.perf_counter() - begun[0], time.process_time() - begun[1]


def _loss() -> keras.losses.Loss:
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


def _of_any_size(tensor: tf.Tensor) -> tf.Tensor:
    return tf.raw_ops.PlaceholderWithDefault(input=tensor, shape=[None, *tensor.shape[1:]])
