"""What tests make for themselves: a small model and small image files."""

from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tlkeras import heads
from tlkeras.backbones.preprocess import Preprocess

REPOSITORY = Path(__file__).parent.parent
CLASSES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]


def make_tiny_model(classes=CLASSES, size: int = 32, seed: int = 0) -> keras.Model:
    """A flat model as `tlkeras.build` makes them, small, with random weights and clear preferences."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3), name="image")
    x = Preprocess({"name": "tiny", "preprocess": "tf"}, name="preprocess")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, name="convolution")(x)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    x = keras.layers.ReLU(name="activation")(x)
    model = keras.Model(image, heads.classify(x, classes), name="tiny")
    kernel = model.get_layer("logits").kernel
    kernel.assign(kernel * 5)
    return model


def write_photo(path: Path, seed: int, size=(50, 40), mode: str = "RGB") -> Path:
    """An image of broad coloured patches; the suffix says the format."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
    return path
