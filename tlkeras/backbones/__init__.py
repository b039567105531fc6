"""Backbones: a card becomes a Keras model, from RGB 0..255 to a feature map or from strings to an embedding."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from tlkeras import weights as weight_cache
from tlkeras import zoo
from tlkeras.backbones import efficientnet_lite, hub, hub_places, keras_applications, minilm, sentence_files
from tlkeras.backbones.preprocess import Preprocess
from tlkeras.backbones.stages import Stage, stages_of
from tlkeras.backbones.text import TextPreprocess
from tlkeras.backbones.weight_files import Loaded, load_weights
from tlkeras.errors import TlkerasError, TlkerasWarning, unknown_name
from tlkeras.zoo import Card

# The families that are written here; the rest is Keras'.
_FAMILIES = {"efficientnet_lite": efficientnet_lite.build}
_TEXT_FAMILIES = ("minilm",)
_SMALLEST = 32
_NO_FILES = ("imagenet", "random")


@dataclass(frozen=True)
class Backbone:
    """A network without its classifier.

    Attributes:
        model: Flat `keras.Model` from float32 RGB 0..255 `(batch, size, size, 3)` (layer `image`), through the layer
            `preprocess`, to the feature map `(batch, height, width, card.features)`; for texts from strings `(batch,)`
            (layer `text`) to the embedding `(batch, card.features)`. Nothing in it is random.
        card: What it was made from.
        stages: Its layers in groups, input to output.
        loaded: What was taken from a file of weights, where one was given.
    """

    model: keras.Model
    card: Card
    stages: list[Stage]
    loaded: Loaded | None = None


def find(name: str, image_size: int = 0, stages: Sequence[str] = (), file: str = "") -> Card:
    """Finds the card of a backbone by name, or makes one for `hub:HANDLE`.

    Args:
        name: A card of the zoo, or the handle of a TF-Hub module, which is loaded to see what it is.
        image_size: Pixels a side that it is meant for; 0 is its own.
        stages: Patterns to take instead of the card's.
        file: A file with more cards.

    Raises:
        TlkerasError: There is no such card or module.
    """
    card = hub.card_of(name, image_size) if name.startswith(hub.SCHEME) else zoo.card(name, file)
    return Card.from_dict({**card.to_dict(), "stages": list(stages)}) if stages else card


def check(card: Card) -> None:
    """Builds the backbone of a card, with random weights, to see whether the card tells the truth.

    A module of TF-Hub is loaded, but not fetched for this. Weights that lie in a file on this machine are loaded.

    Raises:
        TlkerasError: It cannot be built, its stages do not cover it, features or parameters are others, or the file of
            weights does not fit.
    """
    is_module = card.scheme == "hub"
    if is_module and not hub_places.is_here(card.source.removeprefix(hub.SCHEME)):
        return
    with warnings.catch_warnings():
        # What is a warning to whoever trains with a card is an error in a new one.
        warnings.simplefilter("ignore", TlkerasWarning)
        model = load(card, "imagenet" if is_module else "random").model
    if wrong := _differences(card, model):
        # A network that is written here is built with the features on the card, be they right or wrong.
        is_guess = not (is_module or card.application)
        with_it = f" with features = {card.features}: one of the two is wrong" if is_guess else ""
        key, value = next(iter(wrong.items()))
        raise TlkerasError(f"card {card.name!r}, key {key!r}: it is {value}{with_it}. Received: {getattr(card, key)}")
    if card.scheme == "file":
        load(card)


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
        weights: `imagenet` (what the card names, fetched if need be), `random`, or a file: `.keras`, `.weights.h5`,
            `.h5`, or `.pth`; for sentence encoders `.zip`.
        image_size: Height and width in pixels, 32 or more; by default the card's. Not for texts.
        recipe: Kept by the layer `preprocess`, so that a saved model can tell how it was made.
        partial: Take from a file of weights what fits by name and shape, and leave the rest random; `Backbone.loaded`
            says what was taken.

    Raises:
        TlkerasError: weights that cannot be had or do not fit, images too small, or stages that do not cover it.
    """
    if card.scheme == "hub":
        return _load_module(card, weights, image_size, recipe, partial)
    if card.task == "text":
        if partial:
            raise TlkerasError(f"partial: {card.name!r} takes texts, and its weights from a file whole or not at all")
        return _load_text(card, weights, image_size, recipe)
    size = image_size or card.input_size
    if size < _SMALLEST:
        raise TlkerasError(f"images must be {_SMALLEST} pixels a side or more. Received: {size}")
    if partial and weights in _NO_FILES:
        raise TlkerasError(f"partial: needs a file of weights. Received: weights {weights!r}")
    image = keras.Input((size, size, 3), name="image", dtype="float32")
    x = Preprocess(card.to_dict(), recipe, name="preprocess")(image)
    by_keras = card.scheme == "keras" and weights == "imagenet"
    if card.application:
        built = keras_applications.build(x, card, _imagenet(card) if by_keras else None)
        model = keras.Model(built.inputs[0], built.outputs[0], name=card.name)
    elif card.family in _FAMILIES:
        model = keras.Model(image, _FAMILIES[card.family](x, card), name=card.name)
    else:
        raise unknown_name(f"family of a {card.scheme}: card", card.family, _FAMILIES)
    if weights == "imagenet" and not by_keras:
        load_weights(model, weight_cache.fetch(card), card)
    loaded = None if weights in _NO_FILES else load_weights(model, weights, card, partial)
    return Backbone(model, card, stages_of(model.layers, card), loaded)


def _load_module(
    card: Card, weights: str | Path, image_size: int | None, recipe: dict | None, partial: bool
) -> Backbone:
    if weights == "random":
        raise TlkerasError(f"weights: {card.name!r} is a module of TF-Hub, which brings its own: imagenet, or a file")
    model, found = hub.build(card, image_size, recipe)
    for key, value in _differences(card, model).items():
        warnings.warn(
            f"card {card.name!r}, key {key!r}: it is {value}, not {getattr(card, key)}", TlkerasWarning, stacklevel=2
        )
    card = found
    loaded = None if weights == "imagenet" else load_weights(model, weights, card, partial)
    return Backbone(model, card, stages_of(model.layers, card), loaded)


def _differences(card: Card, model: keras.Model) -> dict[str, int]:
    """Gives what a card says otherwise of its network than it is, as it is."""
    found = {"features": model.output_shape[-1], "parameters": model.count_params()}
    return {key: value for key, value in found.items() if value != getattr(card, key)}


def _load_text(card: Card, weights: str | Path, image_size: int | None, recipe: dict | None) -> Backbone:
    if image_size:
        raise TlkerasError(f"image_size: texts have none, and {card.name!r} takes texts. Received: {image_size}")
    if card.family not in _TEXT_FAMILIES:
        raise unknown_name(f"family of texts of a {card.scheme}: card", card.family, _TEXT_FAMILIES)
    text = keras.Input((), name="text", dtype="string")
    x = TextPreprocess(card.to_dict(), recipe, name="preprocess")(text)
    if weights == "random":
        model = keras.Model(text, minilm.build(x, card, minilm.sizes_without_weights(card)), name=card.name)
    else:
        file = weight_cache.fetch(card) if weights == "imagenet" else weights
        found = sentence_files.read(file, card)
        model = keras.Model(text, minilm.build(x, card, found.sizes, found.tokens), name=card.name)
        minilm.set_weights(model, found.tensors, card)
    return Backbone(model, card, stages_of(model.layers, card))


def _imagenet(card: Card) -> str:
    # Given the file, Keras asks for no other: by itself it has other weights of MobileNet for 128 pixels than for 224.
    return str(weight_cache.fetch(card)) if card.url else "imagenet"
