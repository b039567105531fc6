"""A model as one TensorFlow graph in which the weights are constants: made once, and read by every engine."""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tlkeras.backbones.hub_module import HubModule
from tlkeras.features.engines.folded_graphs import fold_graph
from tlkeras.features.engines.folding import Folding, fold
from tlkeras.features.engines.kinds import Unsupported

# A graph with more is no longer one message, which is 2 GiB at most.
_MOST_BYTES = 1_900_000_000


class Graph:
    """A traced model.

    Attributes:
        function: Takes the tensor of a batch and gives the list of outputs.
        input_name: Name of the tensor that is fed.
        output_names: Names of the tensors that are fetched, in order.
        reference: Some rows and what Keras itself gives for them, once an engine was compared with it.
    """

    reference: tuple[np.ndarray, list[np.ndarray]] | None = None

    def __init__(self, function: tf.types.experimental.ConcreteFunction):
        self.function = function
        self.input_name = function.inputs[0].name
        self.output_names = [tensor.name for tensor in function.outputs]

    @functools.cached_property
    def definition(self) -> tf.compat.v1.GraphDef:
        """The graph on its own.

        Raises:
            Unsupported: It is not all there is: the model reads a table, as tokenizers do, or variables of a module.
        """
        definition = self.function.graph.as_graph_def()
        captured = self.function.captured_inputs
        if any(tensor.dtype in (tf.resource, tf.variant) for tensor in captured):
            raise Unsupported("the model computes with variables or tables that are not in its graph")
        # Tensors that a layer made for itself when it was built.
        placeholders = self.function.inputs[len(self.function.inputs) - len(captured) :]
        values = {inner.op.name: outer for inner, outer in zip(placeholders, captured, strict=True)}
        for node in definition.node:
            if node.name in values:
                constant = tf.make_tensor_proto(values[node.name].numpy())
                node.CopyFrom(tf.compat.v1.NodeDef(name=node.name, op="Const"))
                node.attr["dtype"].type = constant.dtype
                node.attr["value"].tensor.CopyFrom(constant)
        return definition

    def serialized(self) -> bytes:
        """Gives the definition as bytes, the same ones for the same graph."""
        return self.definition.SerializeToString(deterministic=True)


def trace(model: keras.Model) -> Graph:
    """Traces a Functional model of one input in inference, BatchNorm folded where it can be; leaves the model alone."""
    function = tf.function(computation(model), autograph=False, jit_compile=False)
    return Graph(function.get_concrete_function(_batch_of(model)))


def computation(model: keras.Model) -> Callable[[tf.Tensor], list[tf.Tensor]]:
    """Gives what a Functional model of one input computes in inference, to be traced; its weights are those of now.

    They become constants, with BatchNorm folded where it can be, unless they are too many for one graph.

    Returns:
        A function that takes a batch and gives the list of outputs, in float32.
    """
    arrays = {id(variable): variable for layer in model.layers for variable in layer.weights}
    constant = _bytes(model) < _MOST_BYTES
    folding = fold(model) if constant else Folding()
    weights = {key: variable.numpy() for key, variable in arrays.items()} if constant else {}
    weights.update(folding.weights)

    return functools.partial(_compute, model, weights, folding)


def computation_with_variables(
    model: keras.Model,
) -> tuple[Callable[[tf.Tensor], list[tf.Tensor]], list[tf.Variable]]:
    """Gives what a Functional model of one input computes in inference, BatchNorm folded where it can be.

    Returns:
        A function that takes a batch and gives the list of outputs, in float32; and the variables that it reads, those
        of the model where nothing was folded into them.
    """
    folding = fold(model)
    replaced = {key: tf.Variable(value, trainable=False) for key, value in folding.weights.items()}
    folded = {id(weight) for layer in model.layers if id(layer) in folding.shifts for weight in layer.weights}
    own = [variable.value for variable in model.variables if id(variable) not in {*replaced, *folded}]
    compute = functools.partial(_compute, model, replaced, folding)
    if any(isinstance(layer, HubModule) for layer in model.layers) and _bytes(model) < _MOST_BYTES:
        function = tf.function(compute, input_signature=[_batch_of(model)], autograph=False).get_concrete_function()
        if within := fold_graph(function):
            return within
    return compute, [*replaced.values(), *own]


def _batch_of(model: keras.Model) -> tf.TensorSpec:
    given = model.inputs[0]
    return tf.TensorSpec([None, *given.shape[1:]], given.dtype, name="batch")


def _bytes(model: keras.Model) -> int:
    return sum(4 * math.prod(variable.shape) for variable in model.variables)


def _compute(model: keras.Model, weights: dict, folding: Folding, batch: tf.Tensor) -> list[tf.Tensor]:
    with _Replaced(weights):
        outputs = model._run_through_graph(batch, lambda operation: _inference(operation, folding))
    return [tf.cast(output, tf.float32) for output in keras.tree.flatten(outputs)]


class _Replaced(keras.StatelessScope):
    """Reads other values in the place of variables, each where it is first used: arrays, as constants, or variables."""

    def __init__(self, weights: dict[int, np.ndarray | tf.Variable]):
        super().__init__()
        self.weights = weights

    def get_current_value(self, variable):
        key = id(variable)
        if key not in self.state_mapping and key in self.weights:
            self.state_mapping[key] = tf.convert_to_tensor(self.weights[key])
        return super().get_current_value(variable)


def _inference(operation: keras.Operation, folding: Folding) -> Callable:
    if id(operation) in folding.shifts:
        return lambda x, **_: tf.nn.bias_add(x, folding.shifts[id(operation)])
    if _is_depthwise(operation):
        return functools.partial(_depthwise, operation)
    if not isinstance(operation, keras.layers.Layer) or "training" not in inspect.signature(operation.call).parameters:
        return operation
    return lambda *args, **kwargs: operation(*args, **{**kwargs, "training": False})


def _is_depthwise(operation: keras.Operation) -> bool:
    """Says whether a layer is a convolution of as many groups as channels, which Keras compiles with XLA, slowly."""
    return (
        type(operation) is keras.layers.Conv2D
        and operation.groups > 1
        and operation.kernel.shape[2] == 1
        and operation.strides[0] == operation.strides[1]
        and operation.dilation_rate == (1, 1)
        and operation.padding in ("same", "valid")
        and operation.data_format == "channels_last"
        and operation.dtype_policy.name == "float32"
    )


def _depthwise(layer: keras.layers.Conv2D, x: tf.Tensor) -> tf.Tensor:
    height, width, _, channels = layer.kernel.shape
    kernel = tf.reshape(layer.kernel.value, (height, width, layer.groups, channels // layer.groups))
    x = tf.nn.depthwise_conv2d(x, kernel, (1, *layer.strides, 1), layer.padding.upper())
    return layer.activation(tf.nn.bias_add(x, layer.bias.value) if layer.use_bias else x)
