"""The format of Keras itself: one `.keras` file without the state of training; its last layer has the class names."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tlkeras.precision import in_float32


def convert(model: keras.Model) -> bytes:
    """Gives a model as a `.keras` file: it takes what the model takes, in float32, and gives logits.

    Whoever loads it needs tlkeras installed, for its layers: `import tlkeras; keras.saving.load_model(FILE)`.
    """
    # Made again of its layers: what it was compiled with, an optimizer twice its size, stays behind.
    bare = keras.Model(model.inputs, model.outputs, name=model.name) if model.compiled else model
    with tempfile.TemporaryDirectory(prefix="tlkeras-") as folder:
        file = Path(folder, "model.keras")
        in_float32(bare).save(file)
        return file.read_bytes()


def load(content: bytes) -> keras.Model:
    """Loads a `.keras` file from its bytes."""
    with tempfile.TemporaryDirectory(prefix="tlkeras-") as folder:
        file = Path(folder, "model.keras")
        file.write_bytes(content)
        return keras.saving.load_model(file)


def copy(model: keras.Model) -> keras.Model:
    """Gives a model of its own with the same weights, in float32 and not compiled."""
    return load(convert(model))


def runner(model: keras.Model, temperature: float = 1.0) -> Callable[[np.ndarray], np.ndarray]:
    """Gives a model as one function of TensorFlow, as it is served.

    Returns:
        A function that takes float32 images 0..255 `(batch, height, width, 3)`, or strings `(batch,)`, and gives
        float32 probabilities `(batch, classes)`.
    """
    model, given = in_float32(model), model.inputs[0]
    spec = tf.TensorSpec([None, *given.shape[1:]], given.dtype)

    @tf.function(input_signature=[spec], autograph=False, jit_compile=False)
    def probabilities(inputs):
        return tf.nn.softmax(model(inputs, training=False) / temperature)

    return lambda inputs: probabilities(tf.constant(inputs, given.dtype)).numpy()
