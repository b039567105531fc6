"""Mixed precision is for training: judging and serving compute in float32.

In half precision, two graphs of the same model answer differently by what rounding leaves (0.05 in a probability was
seen with bfloat16 and EfficientNetV2B0), so that no export could be held against its model.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import keras

from tlkeras.backbones.weight_files import set_weights
from tlkeras.distribute import devices


@contextlib.contextmanager
def mixed(mixed_precision: str | None) -> Iterator[str]:
    """Makes layers that are built within the block compute in the precision of the setting `mixed_precision`.

    Args:
        mixed_precision: `none`, `float16`, `bfloat16`, or `auto`, which is what the devices are made for (see
            `tlkeras.distribute.precision_for`); None leaves Keras' own policy.

    Yields:
        The setting, also where it was Keras' own.
    """
    before = keras.config.dtype_policy()
    if mixed_precision is None:
        yield "none" if before.name == "float32" else before.name.removeprefix("mixed_")
        return
    kind = devices.precision_for(mixed_precision, devices.kind(), devices.capabilities())
    keras.config.set_dtype_policy("float32" if kind == "none" else f"mixed_{kind}")
    try:
        yield mixed_precision
    finally:
        keras.config.set_dtype_policy(before)


def in_float32(model: keras.Model) -> keras.Model:
    """Gives the model itself where it computes in float32 throughout, or else a copy with its weights that does."""
    if all(layer.compute_dtype == "float32" for layer in model.layers):
        return model
    copy = keras.models.clone_model(model, clone_function=_float32_layer)
    for layer in model.layers:
        if layer.weights:
            set_weights(copy.get_layer(layer.name), layer.get_weights())
    return copy


def _float32_layer(layer: keras.Operation) -> keras.Operation:
    # A functional model has bare operations in it where tensors were added by a plain +; they follow their inputs.
    dtype = {"dtype": "float32"} if isinstance(layer, keras.layers.Layer) else {}
    return type(layer).from_config({**layer.get_config(), **dtype})
