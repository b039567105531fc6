"""The protocol messages of TensorFlow Serving: requests to a signature, and what came back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis.classification_pb2 import ClassificationResponse
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog


def predict_log(signature: str, inputs: Mapping[str, np.ndarray | Sequence[bytes]]) -> PredictionLog:
    """Makes a request to Predict; a sequence of bytes is a batch of strings."""
    log = PredictionLog()
    request = log.predict_log.request
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        dtype, shape = (None, None) if isinstance(value, np.ndarray) else (tf.string, [len(value)])
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value, dtype, shape))
    return log


def classify_log(signature: str, examples: Sequence[tf.train.Example]) -> PredictionLog:
    """Makes a request to Classify."""
    log = PredictionLog()
    request = log.classify_log.request
    request.model_spec.signature_name = signature
    for example in examples:
        request.input.example_list.examples.add().MergeFromString(example.SerializeToString())
    return log


def example_of(name: str, value: bytes) -> tf.train.Example:
    """Makes an Example with one feature of bytes."""
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
    return tf.train.Example(features=tf.train.Features(feature={name: feature}))


def outputs_of(response: PredictResponse | ClassificationResponse) -> dict[str, np.ndarray]:
    """Gives the outputs of a response by name; those of Classify are `classes` and `scores`, as Predict would give."""
    if isinstance(response, PredictResponse):
        return {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
    rows = [row.classes for row in response.result.classifications]
    return {
        "classes": np.array([[one.label.encode() for one in row] for row in rows], object),
        "scores": np.array([[one.score for one in row] for row in rows], np.float32),
    }


def signature_of(log: PredictionLog) -> str:
    """Gives the signature that a request asks; of another kind than Predict and Classify, the kind."""
    kind = log.WhichOneof("log_type")
    if kind not in ("predict_log", "classify_log"):
        return str(kind)
    return getattr(log, kind).request.model_spec.signature_name or "serving_default"
