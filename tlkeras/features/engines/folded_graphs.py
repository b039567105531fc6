"""BatchNorm folded into the convolutions of a graph: for modules of TF-Hub, into which Keras does not see."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from tensorflow.python.framework import op_def_registry
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

from tlkeras import consoles
from tlkeras.features.engines.folding import scale_and_shift, scaled

_NORMS = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
_CONVOLUTIONS = ("Conv2D", "DepthwiseConv2dNative")


def fold_graph(
    function: tf.types.experimental.ConcreteFunction,
) -> tuple[Callable[[tf.Tensor], list[tf.Tensor]], list[tf.Variable]] | None:
    """Gives what a traced model computes, with each BatchNorm that follows a convolution alone folded into it.

    Args:
        function: Takes one tensor and gives a list of them; its variables together have less than 2 GiB.

    Returns:
        A function of the same tensors, and the variables that it reads; or None where there is nothing to fold, or the
        graph has more than values of its input: tables, random numbers, other state.
    """
    if not _has_norms(function):
        return None
    with consoles.no_standard_error():
        frozen, definition = convert_variables_to_constants_v2_as_graph(
            function, lower_control_flow=False, aggressive_inlining=True
        )
    if frozen.captured_inputs or any(map(_has_state, definition.node)):
        return None
    outputs = [tensor.name for tensor in frozen.outputs]
    graph = _Graph(definition, outputs)
    if not graph.fold():
        return None
    return graph.computation(frozen.inputs[0].name, outputs)


def _has_norms(function: tf.types.experimental.ConcreteFunction) -> bool:
    """Looks at the names alone: to make constants of a large model's variables takes long."""
    definition = function.graph.as_graph_def()
    inner = (node for one in definition.library.function for node in one.node_def)
    return any(node.op in _NORMS for node in itertools.chain(definition.node, inner))


def _has_state(node: tf.compat.v1.NodeDef) -> bool:
    return node.op != "Placeholder" and op_def_registry.get(node.op).is_stateful


class _Graph:
    """Nodes without those that pass on what they are given, and the numbers of the constant ones.

    Args:
        definition: A graph of one device, without functions that are called.
        outputs: Tensors that stay what they are.
    """

    def __init__(self, definition: tf.compat.v1.GraphDef, outputs: list[str]):
        passed_on = {node.name: node.input[0] for node in definition.node if node.op == "Identity"}
        kept = {name.partition(":")[0] for name in outputs}

        def source(name: str) -> str:
            while (node := name.removesuffix(":0")) in passed_on:
                name = passed_on[node]
            return name.removesuffix(":0")

        self.definition = tf.compat.v1.GraphDef(versions=definition.versions)
        self.nodes: dict[str, tf.compat.v1.NodeDef] = {}
        self.weights: dict[str, np.ndarray] = {}
        for node in definition.node:
            if node.op == "NoOp" or (node.op == "Identity" and node.name not in kept):
                continue
            if node.op == "Const" and node.attr["dtype"].type == tf.float32.as_datatype_enum:
                value = tf.make_ndarray(node.attr["value"].tensor)
                if value.ndim:
                    self.weights[node.name] = value
                    continue
            node = self.definition.node.add(op=node.op, name=node.name, attr=node.attr, input=node.input)
            # Without state there is no order to keep but that of the values.
            node.input[:] = [source(name) for name in node.input if not name.startswith("^")]
            # It may name a node that is gone.
            node.attr.pop("_class", None)
            self.nodes[node.name] = node
        self.uses = Counter(name for node in self.definition.node for name in node.input)

    def fold(self) -> int:
        """Folds what can be folded, and gives the number of BatchNorms that are gone."""
        return sum(self._fold(norm) for norm in self.definition.node if norm.op in _NORMS)

    def _fold(self, norm: tf.compat.v1.NodeDef) -> bool:
        statistics = [self.weights.get(name) for name in norm.input[1:5]]
        linear = self.nodes.get(norm.input[0])
        bias = None
        if linear is not None and linear.op == "BiasAdd" and self.uses[linear.name] == 1:
            bias, linear = self.weights.get(linear.input[1]), self.nodes.get(linear.input[0])
            if bias is None:
                return False
        if (
            linear is None
            or linear.op not in _CONVOLUTIONS
            or self.uses[linear.name] != 1
            or linear.input[1] not in self.weights
            or any(found is None for found in statistics)
            or norm.attr["is_training"].b
            or any(node.attr["data_format"].s not in (b"", b"NHWC") for node in (norm, linear))
            or any(self.uses[f"{norm.name}:{output}"] for output in range(1, 6))
        ):
            return False
        scale, shift = scale_and_shift(*statistics, norm.attr["epsilon"].f)
        kernel, is_depthwise = self.weights[linear.input[1]], linear.op == "DepthwiseConv2dNative"
        linear.input[1], added = f"{linear.name}/folded", f"{norm.name}/shift"
        self.weights[linear.input[1]] = scaled(kernel, scale, is_depthwise)
        self.weights[added] = np.float32(shift if bias is None else shift + bias * scale)
        kind = norm.attr["T"]
        norm.op, norm.input[:] = "BiasAdd", [linear.name, added]
        norm.attr.clear()
        norm.attr["T"].CopyFrom(kind)
        return True

    def computation(
        self, given: str, outputs: list[str]
    ) -> tuple[Callable[[tf.Tensor], list[tf.Tensor]], list[tf.Variable]]:
        """Gives the function from the tensor that is given to the outputs, and its variables."""
        used = {name for node in self.definition.node for name in node.input}
        variables = {name: tf.Variable(value, trainable=False) for name, value in self.weights.items() if name in used}
        for node in [node for node in self.definition.node if node.op == "Placeholder"]:
            self.definition.node.remove(node)

        def compute(batch: tf.Tensor) -> list[tf.Tensor]:
            read = {name: tf.convert_to_tensor(variable) for name, variable in variables.items()}
            return tf.graph_util.import_graph_def(
                self.definition, {given.removesuffix(":0"): batch, **read}, outputs, name="folded"
            )

        return compute, list(variables.values())
