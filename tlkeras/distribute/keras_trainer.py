"""Keras' own `fit`, `evaluate` and `predict` under a strategy of many replicas, on one machine or on many.

Stock Keras 3 fails under `MultiWorkerMirroredStrategy` (https://github.com/keras-team/keras/issues/20585), and under
every strategy its loss is the mean of the replicas' means, which is another one where a batch does not divide evenly.
What is private to Keras stands in this module, and `keras_private` lists it. It was tested with Keras 3.10.0
(TensorFlow 2.19) and 3.15.1 (2.21).
"""

from __future__ import annotations

import contextlib
import types
import warnings
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf
from keras.src.backend.tensorflow import trainer as stock
from keras.src.trainers.data_adapters import tf_dataset_adapter

from tlkeras.distribute import replicas
from tlkeras.distribute.keras_private import check_compiled, check_keras
from tlkeras.errors import TlkerasError

_TRAINER = stock.TensorFlowTrainer


def stock_loop_works(strategy: tf.distribute.Strategy) -> bool:
    """Tells whether Keras' own loop can reduce the scalars that a step returns; all workers must ask together."""
    try:
        stock.reduce_per_replica(tf.constant(1.0), strategy, "auto")
    except ValueError:
        return False
    return True


def enable(model: keras.Model) -> keras.Model:
    """Makes `fit`, `evaluate` and `predict` of a model work, and work exactly, under the strategy of many replicas.

    With it, the loss, its gradient and all metrics are those of the global batch, however it is divided: what one
    device computes, up to rounding. A model under a strategy of one replica is left as it is, and so is one on a TPU,
    which has not been tried. The model stays what it was: its class, its config and its files know nothing of it.

    A `train_step`, `test_step` or `predict_step` of the model's own is left alone; what the first two return is then
    averaged over the replicas.

    `BatchNormalization` in training mode normalizes each replica's rows by their own moments, which makes another
    model than one device does, unless it is made with `synchronized=True`. Its moving mean is that of the global
    batches; its moving variance is the mean of the replicas', which lacks the variance between them.

    Args:
        model: Any model, built or not, that was made within the scope of its strategy. Compile it within the scope.

    Returns:
        The same model.

    Raises:
        TlkerasError: The model was made outside the scope, or Keras is of a version that this was not made for.
    """
    strategy = model.distribute_strategy
    if strategy.num_replicas_in_sync == 1 or isinstance(strategy, tf.distribute.TPUStrategy):
        return model
    if model._distribute_strategy is None:
        raise TlkerasError("the model was made outside the scope of its strategy: make and compile it within the scope")
    check_keras()
    overrides: dict[str, Callable] = {"_maybe_symbolic_build": _maybe_symbolic_build, "fit": _fit}
    if not stock_loop_works(strategy):
        overrides["_make_function"] = _make_function
    for name, step in (("train_step", _train_step), ("test_step", _test_step), ("predict_step", _predict_step)):
        if getattr(type(model), name) is getattr(_TRAINER, name) and name not in vars(model):
            overrides[name] = step
    for name, function in overrides.items():
        setattr(model, name, types.MethodType(function, model))
    return model


def _train_step(self, data):
    rows, x, y, sample_weight = _unpack(_with_class_weights(self, data))
    # Weighed before the gradient is taken: with synchronized BatchNormalization, gradients cross the replicas.
    weight = rows.fraction() * tf.distribute.get_strategy().num_replicas_in_sync
    with tf.GradientTape() as tape:
        y_pred, loss = _forward(self, rows, x, y, sample_weight, training=True)
        weighed = loss * tf.cast(weight, loss.dtype)
        if self.optimizer is not None:
            weighed = self.optimizer.scale_loss(weighed)
    gradients = tape.gradient(weighed, self.trainable_weights)
    own = _update_metrics(self, rows, loss, x, y, y_pred, sample_weight)
    moving = [v for layer in _normalizations(self, synchronized=False) for v in layer.non_trainable_variables]
    gradients, sums = replicas.exchange(rows, gradients, averaged=moving, summed=_summed(self))
    if self.trainable_weights:
        with _summed_already(self.optimizer):
            self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
    else:
        warnings.warn("The model does not have any trainable weights.", stacklevel=2)
    return _results(self, own, sums)


def _test_step(self, data):
    rows, x, y, sample_weight = _unpack(data)
    y_pred, loss = _forward(self, rows, x, y, sample_weight, training=False)
    own = _update_metrics(self, rows, loss, x, y, y_pred, sample_weight)
    _, sums = replicas.exchange(rows, summed=_summed(self))
    return _results(self, own, sums)


def _predict_step(self, data):
    rows, x, _, _ = _unpack(data)
    y_pred = self(x, training=False) if self._call_has_training_arg else self(x)
    return keras.tree.map_structure(lambda output: output[: rows.own], y_pred) if rows.may_be_none else y_pred


def _unpack(data):
    rows = replicas.Rows(data)
    return rows, *keras.utils.unpack_x_y_sample_weight(rows.or_a_blank(data))


def _forward(model, rows, x, y, sample_weight, training):
    with replicas.step_of(rows):
        y_pred = model(x, training=training) if model._call_has_training_arg else model(x)
    with _weighed_parts(model, rows, y_pred):
        loss = model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=training)
    return y_pred, loss


@contextlib.contextmanager
def _weighed_parts(model, rows, y_pred) -> Iterator[None]:
    """Weighs what is added to the mean loss of each output: Keras counts a batch of unknown size as one."""
    variables = [v for metric in (model._compile_loss.metrics if model._compile_loss else ()) for v in metric.variables]
    before = [tf.identity(variable.value) for variable in variables]
    yield
    if variables:
        weight = rows.fraction() if tf.nest.flatten(y_pred)[0].shape[0] is None else tf.constant(1.0)
        added = [tf.cast(weight, old.dtype) * (v.value - old) for v, old in zip(variables, before, strict=True)]
        for variable, old, more in zip(variables, before, rows.or_zeros(added), strict=True):
            variable.assign(old + more)


def _update_metrics(model, rows, loss, x, y, y_pred, sample_weight) -> dict:
    """Updates the metrics with a replica's rows, and gives what a `compute_metrics` of the model's own returns."""
    many = tf.distribute.get_strategy().num_replicas_in_sync

    def update():
        # Keras divides every loss by the number of replicas.
        model._loss_tracker.update_state(loss * tf.cast(many, loss.dtype), sample_weight=rows.own)
        return model.compute_metrics(x, y, y_pred, sample_weight=sample_weight)

    if type(model).compute_metrics is not keras.Model.compute_metrics:
        return update()
    rows.if_any(update)
    return {}


def _summed(model) -> list[keras.Variable]:
    variables = {id(variable): variable for metric in model.metrics for variable in metric.variables}
    return [variable for variable in variables.values() if variable.aggregation == "sum"]


def _results(model, own, sums) -> dict:
    """Gives what the metrics are over all replicas: equal on each."""
    with keras.StatelessScope(state_mapping=sums):
        return {**own, **model.get_metrics_result()}


def _normalizations(model, synchronized: bool) -> list[keras.layers.BatchNormalization]:
    layers = (layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization))
    return [layer for layer in layers if layer.synchronized == synchronized and layer.trainable]


def _moments(layer, inputs, mask):
    # Stock moments count the blank row of a replica that has none.
    if mask is None and replicas.in_a_step():
        return replicas.moments(inputs, layer._reduction_axes)
    return type(layer)._moments(layer, inputs, mask)


@contextlib.contextmanager
def _summed_already(optimizer) -> Iterator[None]:
    """Keeps an optimizer from summing over the replicas what has been summed.

    Keras clips, accumulates and looks for overflow before its sum, on each replica by itself; here it is done after.
    """
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    name = "_all_reduce_sum_gradients"
    # Counted, since under MirroredStrategy the replicas are traced in threads that take turns.
    depth = vars(optimizer).get("_tlkeras_depth", 0) + 1
    vars(optimizer).update({"_tlkeras_depth": depth, name: lambda grads_and_vars: grads_and_vars})
    try:
        yield
    finally:
        vars(optimizer)["_tlkeras_depth"] -= 1
        if not vars(optimizer)["_tlkeras_depth"]:
            del vars(optimizer)["_tlkeras_depth"], vars(optimizer)[name]


def _make_function(self, step_function):
    strategy = self.distribute_strategy
    equal = getattr(step_function, "__func__", None) in (_train_step, _test_step)

    def reduce(value):
        return strategy.experimental_local_results(value)[0] if equal else strategy.reduce("MEAN", value, axis=None)

    @tf.autograph.experimental.do_not_convert
    def one_step(data):
        data = keras.tree.map_structure(lambda leaf: None if isinstance(leaf, tf.experimental.Optional) else leaf, data)
        return keras.tree.map_structure(reduce, strategy.run(step_function, args=(data,)))

    @tf.autograph.experimental.do_not_convert
    def steps(iterator):
        outputs = one_step(iterator.get_next())
        if self.steps_per_execution > 1:
            outputs = _more_steps(one_step, iterator, self.steps_per_execution - 1, outputs)
        return outputs

    if not self.run_eagerly:
        # One function: collectives of a function within a loop of another one get no keys from TensorFlow.
        steps = tf.function(steps, reduce_retracing=True)

    def function(iterator):
        if isinstance(iterator, tf.data.Iterator | tf.distribute.DistributedIterator):
            return steps(iterator)
        for _, data in zip(range(self.steps_per_execution), iterator, strict=False):
            outputs = one_step(data)
        return outputs

    return function


def _more_steps(one_step, iterator, count, outputs):
    """Runs up to `count` steps more, as long as some worker has data, and gives what the last one gave."""

    def body(done, _, outputs):
        batch = iterator.get_next_as_optional()
        outputs = tf.cond(batch.has_value(), lambda: one_step(batch.get_value()), lambda: outputs)
        return done + 1, batch.has_value(), outputs

    start = (tf.constant(0), tf.constant(True), outputs)
    return tf.while_loop(lambda done, more, _: (done < count) & more, body, start)[2]


def _next_seed(generator, ordered=True):
    # Each replica has the state of the generator, and would drop what the others drop.
    seed, context = type(generator).next(generator, ordered), tf.distribute.get_replica_context()
    return seed if context is None else seed + tf.cast([context.replica_id_in_sync_group * 1_000_003, 0], seed.dtype)


def _maybe_symbolic_build(self, iterator=None, data_batch=None):
    # From the specification of the data. Stock Keras takes a batch for it, and with that an order of its own from
    # every seeded shuffle, and it cannot reduce the batches of workers.
    check_compiled(self)
    for layer in _normalizations(self, synchronized=True):
        vars(layer)["_moments"] = types.MethodType(_moments, layer)
    for generator in (one for layer in self._flatten_layers() for one in layer._seed_generators):
        vars(generator)["next"] = types.MethodType(_next_seed, generator)
    if iterator is not None:
        spec = iterator.data_adapter.get_tf_dataset().element_spec
        data_batch = keras.tree.map_structure(_local_spec, spec)
    with self.distribute_strategy.scope():
        self._symbolic_build(data_batch=data_batch)


def _local_spec(spec):
    spec = getattr(spec, "_value_specs", [spec])[0]
    # What datasets have in the place of a None has no shape.
    return spec if hasattr(spec, "shape") else None


def _fit(self, x=None, *args, class_weight=None, **options):
    # Keras maps class weights over a dataset, which cannot be done with one that is distributed.
    inside = class_weight is not None and isinstance(x, tf.distribute.DistributedDataset)
    self._tlkeras_class_weight = class_weight if inside else None
    if inside:
        self.train_function = None
    try:
        with warnings.catch_warnings():
            # Said at the end of every set that does not know its length, as one that is distributed.
            warnings.filterwarnings("ignore", "Your input ran out of data", UserWarning)
            return type(self).fit(self, x, *args, class_weight=None if inside else class_weight, **options)
    finally:
        if inside:
            self._tlkeras_class_weight = self.train_function = None


def _with_class_weights(model, data):
    weights = getattr(model, "_tlkeras_class_weight", None)
    return tf_dataset_adapter.make_class_weight_map_fn(weights)(*data) if weights else data
