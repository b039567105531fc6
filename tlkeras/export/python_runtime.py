"""An export in Python: `tf.saved_model.load`, and nothing of Keras."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tlkeras.errors import TlkerasError, in_one_line


@contextlib.contextmanager
def _unoptimized() -> Iterator[None]:
    """Has graphs that are called for the first time run as they are.

    TensorFlow's graph optimizer takes more than a second for each signature, which a few requests do not win back.
    """
    before = tf.config.optimizer.get_experimental_options().get("disable_meta_optimizer", False)
    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    try:
        yield
    finally:
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": before})


def load(export: Path):
    """Loads a SavedModel, whose packages have been imported.

    Raises:
        TlkerasError: It cannot be loaded.
    """
    try:
        return tf.saved_model.load(str(export))
    except (
        *(OSError, tf.errors.OpError, DecodeError),
        *(ValueError, KeyError, IndexError, TypeError, AttributeError, RuntimeError, AssertionError),
    ) as error:
        raise TlkerasError(f"cannot be loaded: {in_one_line(error)}") from error


class PythonRuntime:
    """An export that answers requests in this process.

    Args:
        export: The version, `EXPORT/N`. The packages that it needs have been imported.

    Raises:
        TlkerasError: It cannot be loaded.
    """

    def __init__(self, export: Path):
        self._loaded = load(export)

    def ask(self, log: PredictionLog) -> dict[str, np.ndarray]:
        """Answers a request to Predict or Classify; gives the outputs by name.

        Raises:
            TlkerasError: The signature does not exist, or refuses the request.
        """
        if log.HasField("classify_log"):
            request = log.classify_log.request
            examples = [example.SerializeToString() for example in request.input.example_list.examples]
            inputs = {"inputs": tf.constant(examples, tf.string)}
        elif log.HasField("predict_log"):
            request = log.predict_log.request
            inputs = {name: _tensor(value) for name, value in request.inputs.items()}
        else:
            raise TlkerasError("the request is neither to Predict nor to Classify")
        name = request.model_spec.signature_name or "serving_default"
        if name not in self._loaded.signatures:
            raise TlkerasError(f"there is no signature {name}")
        try:
            with _unoptimized():
                answer = self._loaded.signatures[name](**inputs)
        except (tf.errors.OpError, TypeError, ValueError) as error:
            raise TlkerasError(f"{name} refuses the request: {in_one_line(error)}") from error
        return {name: value.numpy() for name, value in answer.items()}


def _tensor(proto: tf.compat.v1.TensorProto) -> tf.Tensor:
    try:
        return tf.constant(tf.make_ndarray(proto), tf.dtypes.as_dtype(proto.dtype))
    except (ValueError, TypeError) as error:
        raise TlkerasError(f"the request has no proper tensor: {in_one_line(error)}") from error
