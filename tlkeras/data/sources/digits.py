"""Scikit-learn's handwritten digits: real data that is there as soon as tlkeras is installed."""

from __future__ import annotations

from tlkeras.data.dataset import Source
from tlkeras.data.sources import folder
from tlkeras.data.sources.materialise import materialised


def find(_: str = "", **__) -> Source:
    """Finds the 1,797 images of 8 x 8 pixels in 10 classes; they are written as PNG files into the cache once.

    Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
    """
    return folder.find(str(materialised("digits", _images)))


def _images():
    import tensorflow as tf
    from sklearn.datasets import load_digits

    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        grey = tf.cast(tf.round(image[..., tf.newaxis] * (255 / 16)), tf.uint8)
        yield f"{label}/{number:04}.png", tf.io.encode_png(grey).numpy()
