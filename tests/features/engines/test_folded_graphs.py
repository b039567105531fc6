"""BatchNorm in the graph of a module, which only shows itself in what it computes."""

import numpy as np
import pytest
import tensorflow as tf

from tlkeras.features.engines.folded_graphs import fold_graph

BATCH = tf.TensorSpec([None, 8, 8, 3], tf.float32)


class Module(tf.Module):
    """A convolution and a BatchNorm, each in a function of its own, as Keras saves them."""

    def __init__(self, kind: str = "Conv2D", bias: bool = False):
        super().__init__()
        random = np.random.default_rng(0)
        self.kind, channels = kind, 5 if kind == "Conv2D" else 6
        shape = [3, 3, 3, channels] if kind == "Conv2D" else [3, 3, 3, 2]
        self.kernel = tf.Variable(random.normal(size=shape).astype("float32"))
        self.bias = tf.Variable(random.normal(size=channels).astype("float32")) if bias else None
        self.statistics = [tf.Variable(random.uniform(0.5, 2, channels).astype("float32")) for _ in range(4)]

    @tf.function
    def linear(self, x):
        how = {"strides": [1, 2, 2, 1], "padding": "SAME"}
        x = tf.nn.conv2d(x, self.kernel, **how) if self.kind == "Conv2D" else self.depthwise(x, **how)
        return x if self.bias is None else tf.nn.bias_add(x, self.bias)

    def depthwise(self, x, **how):
        return tf.nn.depthwise_conv2d(x, self.kernel, **how)

    @tf.function
    def norm(self, x, is_training=False):
        gamma, beta, *moments = self.statistics
        moments = [None, None] if is_training else moments
        return tf.compat.v1.nn.fused_batch_norm(x, gamma, beta, *moments, epsilon=0.01, is_training=is_training)[0]


def traced(function) -> tf.types.experimental.ConcreteFunction:
    return tf.function(
        lambda x: [tf.identity(one) for one in function(x)], input_signature=[BATCH]
    ).get_concrete_function()


def norms_of(function) -> int:
    definition = function.graph.as_graph_def()
    nodes = [*definition.node, *(node for inner in definition.library.function for node in inner.node_def)]
    return sum(node.op.startswith("FusedBatchNorm") for node in nodes)


@pytest.mark.parametrize("kind", ["Conv2D", "Depthwise"])
@pytest.mark.parametrize("bias", [False, True])
def test_it_computes_the_same_without_the_norm(kind, bias):
    module = Module(kind, bias)
    function = traced(lambda x: [tf.nn.relu(module.norm(module.linear(2 * x + 1))), x])
    compute, variables = fold_graph(function)
    folded = traced(compute)
    x = np.random.default_rng(1).normal(size=(2, 8, 8, 3)).astype("float32")
    for expected, found in zip(function(tf.constant(x)), folded(tf.constant(x)), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-6 * np.abs(expected).max())
    assert norms_of(function) == 1 and norms_of(folded) == 0
    assert {tuple(v.shape) for v in variables} == {tuple(module.kernel.shape), tuple(module.statistics[0].shape)}


def test_what_others_look_at_is_not_changed():
    one, other = Module(), Module()

    def both(x):
        seen = one.linear(x)
        return [one.norm(seen), seen, other.norm(other.linear(x))]

    function = traced(both)
    folded = traced(fold_graph(function)[0])
    x = tf.random.stateless_normal([1, 8, 8, 3], [0, 0])
    for expected, found in zip(function(x), folded(x), strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert norms_of(folded) == 1


@pytest.mark.parametrize(
    "function",
    [
        lambda module, x: module.linear(x),
        lambda module, x: module.norm(module.linear(x), is_training=True),
        lambda module, x: module.norm(module.linear(x)) + tf.random.uniform([]),
        lambda module, x: module.norm(module.linear(x)) + module.table.lookup(tf.constant("a")),
    ],
)
def test_what_cannot_be_folded_is_left(function):
    module = Module()
    values = tf.lookup.KeyValueTensorInitializer(["a"], [1.0])
    module.table = tf.lookup.StaticHashTable(values, 0.0)
    assert fold_graph(traced(lambda x: [function(module, x)])) is None
