"""A model as one TensorFlow graph in which the weights are constants: made once, and read by every engine."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from tlkeras.features.engines.folding import Folding, fold

# A graph with more is no longer one message, which is 2 GiB at most.
_MOST_BYTES = 1_900_000_000


@dataclass(frozen=True)
class Graph:
    """A traced model.

    Attributes:
        function: Takes the tensor of a batch and gives the list of outputs.
        is_whole: Whether all that it computes with is in the graph; a lookup table or a module of TF-Hub is not.
    """

    function: tf.types.experimental.ConcreteFunction
    is_whole: bool

    @property
    def input_name(self) -> str:
        return self.function.inputs[0].name

    @property
    def output_names(self) -> list[str]:
        return [tensor.name for tensor in self.function.outputs]

    def serialized(self) -> bytes:
        """Gives the graph as a GraphDef message."""
        return self.function.graph.as_graph_def().SerializeToString(deterministic=True)


def trace(model: keras.Model) -> Graph:
    """Traces a Functional model of one input in inference, BatchNorm folded where it can be; leaves the model alone."""
    arrays = {id(variable): variable for layer in model.layers for variable in layer.weights}
    constant = sum(np.prod(v.shape, dtype="int64") * 4 for v in arrays.values()) < _MOST_BYTES
    folding = fold(model) if constant else Folding()
    weights = {key: variable.numpy() for key, variable in arrays.items()} if constant else {}
    weights.update(folding.weights)
    given = model.inputs[0]

    def compute(batch):
        with _Constants(weights):
            outputs = model._run_through_graph(batch, lambda operation: _inference(operation, folding))
        outputs = keras.tree.flatten(outputs)
        return [tf.cast(output, tf.float32) for output in outputs]

    spec = tf.TensorSpec([None, *given.shape[1:]], given.dtype, name="batch")
    function = tf.function(compute, autograph=False, jit_compile=False).get_concrete_function(spec)
    return Graph(function, is_whole=not function.captured_inputs)


class _Constants(keras.StatelessScope):
    """Reads variables as constants, each put into the graph where it is first used."""

    def __init__(self, weights: dict[int, np.ndarray]):
        super().__init__()
        self.weights = weights

    def get_current_value(self, variable):
        key = id(variable)
        if key not in self.state_mapping and key in self.weights:
            self.state_mapping[key] = tf.constant(self.weights[key])
        return super().get_current_value(variable)


def _inference(operation: keras.Operation, folding: Folding) -> Callable:
    if id(operation) in folding.shifts:
        return lambda x, **_: tf.nn.bias_add(x, folding.shifts[id(operation)])
    if not isinstance(operation, keras.layers.Layer) or "training" not in inspect.signature(operation.call).parameters:
        return operation
    return lambda *args, **kwargs: operation(*args, **{**kwargs, "training": False})
