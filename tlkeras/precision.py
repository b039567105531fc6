"""Mixed precision is for training: judging and serving compute in float32.

In half precision, two graphs of the same model answer differently by what rounding leaves (0.05 in a probability was
seen with bfloat16 and EfficientNetV2B0), so that no export could be held against its model.
"""

from __future__ import annotations

import keras


def in_float32(model: keras.Model) -> keras.Model:
    """Gives the model itself where it computes in float32 throughout, or else a copy with its weights that does."""
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    copy = keras.models.clone_model(model, clone_function=_float32_layer)
    copy.set_weights(model.get_weights())
    return copy


def _float32_layer(layer: keras.Operation) -> keras.Operation:
    # A functional model has bare operations in it where tensors were added by a plain +; they follow their inputs.
    dtype = {"dtype": "float32"} if isinstance(layer, keras.layers.Layer) else {}
    return type(layer).from_config({**layer.get_config(), **dtype})
