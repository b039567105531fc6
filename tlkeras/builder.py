"""Backbone and head become one plain `keras.Model`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import keras

from tlkeras import backbones, heads, precision, spec, zoo
from tlkeras import trainable as trainability
from tlkeras.errors import unknown_name


def build(
    backbone: str | zoo.Card = "efficientnet_lite0",
    *,
    classes: Sequence[str],
    head: str = "classify",
    trainable: str = "head",
    batch_norm: str = "frozen",
    weights: str = "imagenet",
    partial: bool = False,
    image_size: int | None = None,
    stages: Sequence[str] = (),
    pooling: str = "avg",
    dropout: float = 0.2,
    mixed_precision: str | None = None,
    on_load: Callable[[backbones.Loaded], None] | None = None,
) -> keras.Model:
    """Builds a model: a backbone of the zoo with a new head, and the weights that shall train set to train.

    The model takes float RGB images `(batch, height, width, 3)` in 0..255 and normalises them inside, or strings
    `(batch,)` and tokenizes them inside, as the card says, and gives float32 logits `(batch, len(classes))`. It is a
    plain functional model: stock `compile`, `fit` and `save` work, and what is saved carries the class names and the
    card.

    Args:
        backbone: Name of a card of the zoo, `hub:HANDLE` of a TF-Hub module, or a card.
        classes: Class names in the order of the logits.
        head: `classify`.
        trainable: `head`, `all`, `top:N` or patterns; see `tlkeras.trainable.plan`.
        batch_norm: BatchNorm of unfrozen stages, `frozen` or `train`.
        weights: `imagenet` (what the card or the module has), `random`, or a file of weights for the backbone.
        partial: Take from a file of weights what fits by name and shape, and leave the rest random.
        image_size: Pixels a side; the card's own size where not given.
        stages: Patterns of the backbone's stages, input to output, instead of those of the card or the module.
        pooling: `avg`, `max` or `gem`.
        dropout: Share of the pooled features dropped in training, 0..1.
        mixed_precision: `none`, `float16`, `bfloat16` or `auto`; Keras' own dtype policy where not given.
        on_load: Called with what was taken from a file of weights, layer by layer.

    Raises:
        TlkerasError: A name or a value is not legal, or the weights cannot be had.
    """
    if head not in heads.HEADS:
        raise unknown_name("head", head, heads.HEADS)
    is_card = isinstance(backbone, zoo.Card)
    card = backbone if is_card else backbones.find(backbone, image_size or 0, stages)
    if stages:
        card = dataclasses.replace(card, stages=tuple(stages))
    recipe = {
        "backbone": card.name if is_card or not backbone.startswith("hub:") else card.source,
        "stages": list(stages),
        "trainable": trainable,
        "batch_norm": batch_norm,
        "weights": str(weights),
        "partial": partial,
        "image_size": image_size or (card.input_size if card.task == "image" else 0),
        "pooling": pooling,
        "dropout": dropout,
    }
    with precision.mixed(mixed_precision) as recipe["mixed_precision"]:
        spec.make(recipe)
        made = backbones.load(card, weights=weights, image_size=image_size, recipe=recipe, partial=partial)
        logits = heads.HEADS[head](made.model.output, classes, pooling=pooling, dropout=dropout)
        model = keras.Model(made.model.input, logits, name=card.name)
    if on_load and made.loaded:
        on_load(made.loaded)
    trainability.plan(model, trainable, batch_norm).apply(model)
    return model
