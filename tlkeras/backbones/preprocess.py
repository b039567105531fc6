"""The first layer of every image model: from the one outside convention, RGB 0..255, to what the weights expect."""

from __future__ import annotations

import keras

from tlkeras.errors import unknown_name

# Scale and shift for each channel of the RGB (or, where swapped, BGR) input: output = input * scale + offset.
TORCH_MEAN, TORCH_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN_BGR = (103.939, 116.779, 123.68)


def scale_and_offset(preprocess: str | dict) -> tuple[list[float], list[float], bool]:
    """Turns a card's `preprocess` entry into a scale and an offset for each channel, and whether RGB becomes BGR.

    The names are those of `keras.applications.imagenet_utils.preprocess_input`, and `unit` (0..1) and `none` beside
    them. A table `{mean, std}` stands for `(x - mean) / std` on the 0..255 scale, each one number or three.
    """
    if isinstance(preprocess, dict):
        mean, std = (_three(preprocess[key]) for key in ("mean", "std"))
        return [1.0 / s for s in std], [-m / s for m, s in zip(mean, std, strict=True)], False
    named = {
        "none": ([1.0] * 3, [0.0] * 3, False),
        "unit": ([1 / 255.0] * 3, [0.0] * 3, False),
        "tf": ([1 / 127.5] * 3, [-1.0] * 3, False),
        "torch": (
            [1 / (255.0 * s) for s in TORCH_STD],
            [-m / s for m, s in zip(TORCH_MEAN, TORCH_STD, strict=True)],
            False,
        ),
        "caffe": ([1.0] * 3, [-m for m in _CAFFE_MEAN_BGR], True),
    }
    if preprocess not in named:
        raise unknown_name("preprocess", preprocess, [*named, "{ mean, std }"])
    return named[preprocess]


def _three(value) -> list[float]:
    return [float(v) for v in value] if isinstance(value, (list, tuple)) else [float(value)] * 3


@keras.saving.register_keras_serializable(package="tlkeras")
class Preprocess(keras.layers.Layer):
    """Normalises float RGB `(batch, height, width, 3)` in 0..255 for the weights behind it, and carries the card.

    Args:
        card: The card of the backbone as a plain dictionary (`Card.to_dict()`); `card["preprocess"]` is what is done.
        recipe: What `tlkeras.build` was asked for, so that a saved model can tell how it was made.
    """

    def __init__(self, card: dict, recipe: dict | None = None, **kwargs):
        super().__init__(**kwargs)
        self.card = dict(card)
        self.recipe = dict(recipe or {})
        self._scale, self._offset, self._to_bgr = scale_and_offset(self.card["preprocess"])

    def call(self, images):
        images = keras.ops.cast(images, self.compute_dtype)
        if self._to_bgr:
            images = keras.ops.flip(images, axis=-1)
        return images * keras.ops.cast(self._scale, images.dtype) + keras.ops.cast(self._offset, images.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "card": self.card, "recipe": self.recipe}
