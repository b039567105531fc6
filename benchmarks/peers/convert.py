"""From a Keras model to other engines, straight from its concrete function, without a file in between."""

from __future__ import annotations

import tensorflow as tf


def to_openvino(model):
    """Gives the `openvino.Model` of a Keras model."""
    import openvino

    return openvino.convert_model(_function(model).get_concrete_function())


def to_onnx(model) -> bytes:
    """Gives a Keras model as an ONNX file."""
    import tf2onnx

    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")]
    proto, _ = tf2onnx.convert.from_function(_function(model), signature, opset=18)
    return proto.SerializeToString()


def _function(model):
    signature = [tf.TensorSpec((None, *model.input_shape[1:]), tf.float32, name="image")]
    return tf.function(lambda image: model(image, training=False), signature)
