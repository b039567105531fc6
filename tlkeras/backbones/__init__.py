"""Backbones: a card becomes a Keras model from RGB 0..255 to a feature map, with its stages and its weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import keras

from tlkeras import weights as weight_cache
from tlkeras.backbones import efficientnet_lite, keras_applications
from tlkeras.backbones.preprocess import Preprocess
from tlkeras.backbones.stages import Stage, stages_of
from tlkeras.backbones.weight_files import Loaded, load_weights
from tlkeras.errors import TlkerasError, unknown_name
from tlkeras.zoo import Card

# The families that are written here; the rest is Keras'.
_FAMILIES = {"efficientnet_lite": efficientnet_lite.build}
_SMALLEST = 32
_NO_FILES = ("imagenet", "random")


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier.

    Attributes:
        model: Flat `keras.Model` from float32 RGB 0..255 `(batch, size, size, 3)` (layer `image`), through the layer
            `preprocess`, to the feature map `(batch, height, width, card.features)`. Nothing in it is random.
        card: What it was made from.
        stages: Its layers in groups, input to output.
        loaded: What was taken from a file of weights, where one was given.
    """

    model: keras.Model
    card: Card
    stages: list[Stage]
    loaded: Loaded | None = None


def load(
    card: Card,
    weights: str | Path = "imagenet",
    image_size: int | None = None,
    recipe: dict | None = None,
    partial: bool = False,
) -> Backbone:
    """Builds the backbone of a card.

    Args:
        card: See `tlkeras.zoo`.
        weights: `imagenet` (fetched if need be), `random`, or a file: `.keras`, `.weights.h5`, `.h5`, or `.pth`.
        image_size: Height and width in pixels, 32 or more; by default the card's.
        recipe: Kept by the layer `preprocess`, so that a saved model can tell how it was made.
        partial: Take from a file of weights what fits by name and shape, and leave the rest random; `Backbone.loaded`
            says what was taken.

    Raises:
        TlkerasError: weights that cannot be had or do not fit, images too small, or stages that do not cover it.
    """
    size = image_size or card.input_size
    if size < _SMALLEST:
        raise TlkerasError(f"images must be {_SMALLEST} pixels a side or more. Received: {size}")
    if partial and weights in _NO_FILES:
        raise TlkerasError(f"partial: needs a file of weights. Received: weights {weights!r}")
    image = keras.Input((size, size, 3), name="image", dtype="float32")
    x = Preprocess(card.to_dict(), recipe, name="preprocess")(image)
    if card.scheme == "keras":
        built = keras_applications.build(x, card, _imagenet(card) if weights == "imagenet" else None)
        model = keras.Model(built.inputs[0], built.outputs[0], name=card.name)
    elif card.family in _FAMILIES:
        model = keras.Model(image, _FAMILIES[card.family](x, card), name=card.name)
        if weights == "imagenet":
            load_weights(model, weight_cache.fetch(card), card)
    else:
        raise unknown_name(f"family of a {card.scheme}: card", card.family, _FAMILIES)
    loaded = None if weights in _NO_FILES else load_weights(model, weights, card, partial)
    return Backbone(model, card, stages_of(model.layers, card), loaded)


def _imagenet(card: Card) -> str:
    # Given the file, Keras asks for no other: by itself it has other weights of MobileNet for 128 pixels than for 224.
    return str(weight_cache.fetch(card)) if card.url else "imagenet"
