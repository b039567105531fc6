"""Stages: the layers of a backbone in groups, input to output, as its card declares them.

What is said of layers holds for the units of a TF-Hub module too, which has no layers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from tlkeras.backbones.hub_module import HubModule
from tlkeras.errors import TlkerasError
from tlkeras.zoo import Card


@dataclass(frozen=True)
class Stage:
    """Layers that freeze and thaw together.

    Attributes:
        name: Short and unique within the backbone: the beginning of the pattern.
        pattern: The regular expression on the card.
        layers: Names of the layers that it matches, with weights or without, input to output.
    """

    name: str
    pattern: str
    layers: tuple[str, ...]


def units_of(layers: Sequence[keras.layers.Layer]) -> list[keras.layers.Layer]:
    """Lists what freezes and thaws by itself: each layer, and in the place of a TF-Hub module its units."""
    return [unit for layer in layers for unit in (layer.units if isinstance(layer, HubModule) else [layer])]


def stages_of(layers: Sequence[keras.layers.Layer], card: Card) -> list[Stage]:
    """Groups the layers of a backbone into the stages of its card.

    Args:
        layers: Layers input to output, as in `model.layers`; for a model with a head, `backbone_layers(model.layers,
            card)`.
        card: `card.stages` are matched against whole layer names.

    Raises:
        TlkerasError: a layer with weights is in no stage or in two, the stages are not in the order of the layers, or a
            stage has no layer with weights. One message lists all that is wrong.
    """
    names, layers = _names(card), units_of(layers)
    matches = {layer.name: _matching(layer.name, card) for layer in layers}
    weighted = [layer.name for layer in layers if layer.weights]
    wrong = [f"layer {name!r} is in no stage" for name in weighted if not matches[name]]
    wrong += [f"layer {name!r} is in {len(found)} stages" for name, found in matches.items() if len(found) > 1]
    order = [matches[name][0] for name in weighted if matches[name]]
    wrong += [f"stage {card.stages[i]!r} has no layer with weights" for i in range(len(names)) if i not in order]
    if order != sorted(order):
        wrong.append("the stages are not in the order of the layers")
    if wrong:
        more = f"; and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise TlkerasError(f"card {card.name!r}, key 'stages': {'; '.join(wrong[:8])}{more}")
    return [
        Stage(name, pattern, tuple(layer for layer, found in matches.items() if found == [i]))
        for i, (name, pattern) in enumerate(zip(names, card.stages, strict=True))
    ]


def backbone_layers(layers: Sequence[keras.layers.Layer], card: Card) -> list[keras.layers.Layer]:
    """Returns the layers up to the last one that a stage claims; what stands behind it is the head."""
    claimed = [
        index
        for index, layer in enumerate(layers)
        if isinstance(layer, HubModule) or any(_matching(unit.name, card) for unit in units_of([layer]))
    ]
    return list(layers[: claimed[-1] + 1]) if claimed else []


def _matching(name: str, card: Card) -> list[int]:
    return [index for index, pattern in enumerate(card.stages) if re.fullmatch(pattern, name)]


def _names(card: Card) -> list[str]:
    """Names each stage after the plain text that its pattern begins with: `stage7_.*|top_.*` is `stage7`."""
    names = [re.match(r"[\w/-]*", pattern)[0].rstrip("_/-") for pattern in card.stages]
    taken = ("", "all", "head")
    return [f"{name}#{i + 1}" if name in taken or names.count(name) > 1 else name for i, name in enumerate(names)]
