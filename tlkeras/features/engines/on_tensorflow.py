"""TensorFlow itself: the traced graph, with oneDNN's bfloat16 where it is asked for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from tlkeras.features.engines.graphs import Graph


def load(graph: Graph, precision: str) -> Callable[[np.ndarray], list[np.ndarray]]:
    """Makes a forward pass of a traced model.

    Raises:
        Unsupported: bfloat16 is asked for, and the graph is not all there is.
    """
    if precision == "float32":
        dtype = graph.function.inputs[0].dtype
        return lambda batch: [output.numpy() for output in graph.function(tf.constant(batch, dtype))]
    # Where a function runs, the options of the optimizer are those of the process; a session has options of its own.
    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.auto_mixed_precision_onednn_bfloat16 = 1  # RewriterConfig.ON
    with tf.Graph().as_default() as plain:
        tf.graph_util.import_graph_def(graph.definition, name="")
    session = tf.compat.v1.Session(graph=plain, config=config)
    return session.make_callable(graph.output_names, [graph.input_name])
