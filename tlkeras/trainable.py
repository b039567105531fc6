"""Which weights train: a plan made from the stages of a backbone, shown before it is applied."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

import keras

from tlkeras.backbones.hub_module import HubModule, Unit
from tlkeras.backbones.stages import Stage, backbone_layers, stages_of, units_of
from tlkeras.errors import TlkerasError, unknown_name
from tlkeras.zoo import Card

HEAD = "head"
_BATCH_NORM = ("frozen", "train")


@dataclass(frozen=True)
class StagePlan:
    """What a plan does to one stage.

    Attributes:
        name: Name of the stage; the last one is `head`.
        layers: Names of its layers with weights.
        parameters: Number of its weights.
        trained_parameters: Number of those that train.
        trains: `yes`, `no`, or `partly`, where a pattern names some of its layers.
        batch_norm: What its BatchNorm layers do: `frozen`, `train`, or empty where it has none.
    """

    name: str
    layers: tuple[str, ...]
    parameters: int
    trained_parameters: int
    trains: str
    batch_norm: str


@dataclass(frozen=True)
class Plan:
    """A decision for each layer of a model, and for each unit of a TF-Hub module: does it train.

    A frozen BatchNorm runs on its moving statistics and leaves them alone, also within `fit` (Keras ties that to
    `trainable`), so a frozen stage computes the same in training as in serving.
    """

    trainable: str
    batch_norm: str
    stages: tuple[StagePlan, ...]
    trained_layers: frozenset[str]

    def apply(self, model: keras.Model) -> None:
        """Sets `trainable` on each layer, and notes it in the model's recipe.

        Compile the model again afterwards, with a fresh optimizer.
        """
        model.trainable = True
        for layer in model.layers:
            if isinstance(layer, HubModule):
                layer.train_units(self.trained_layers, self.batch_norm)
            else:
                layer.trainable = layer.name in self.trained_layers
        recipe(model).update({"trainable": self.trainable, "batch_norm": self.batch_norm})

    def is_applied(self, model: keras.Model) -> bool:
        """Says whether those layers of a model train that the plan names, and no others."""
        modes = {layer.batch_norm for layer in model.layers if isinstance(layer, HubModule)}
        units = (unit for unit in units_of(model.layers) if unit.weights)
        return modes <= {self.batch_norm} and all(u.trainable == (u.name in self.trained_layers) for u in units)


def plan(model: keras.Model, trainable: str = "head", batch_norm: str = "frozen") -> Plan:
    """Plans which layers of a model train. The head always does.

    Args:
        model: A model made by `tlkeras.build`, or loaded again.
        trainable: `head`; `all`; `top:N`, the last N stages of the backbone; or regular expressions, separated by
            commas, that match whole names of stages or layers.
        batch_norm: `frozen` keeps the BatchNorm layers of unfrozen stages on their moving statistics, as advised for
            small data; `train` trains them as well.

    Raises:
        TlkerasError: A pattern matches nothing, there are fewer than N stages, the model has no stages, or its TF-Hub
            module cannot be trained so.
    """
    if batch_norm not in _BATCH_NORM:
        raise unknown_name("batch_norm", batch_norm, _BATCH_NORM)
    stages = stages_with_head(model)
    chosen = _chosen(trainable, stages)
    layers = {layer.name: layer for layer in units_of(model.layers)}
    trained = frozenset(
        name
        for name in chosen
        if batch_norm == "train" or name in stages[-1].layers or not _is_batch_norm(layers[name])
    )
    for layer in model.layers:
        if isinstance(layer, HubModule):
            layer.check_trains(trained, batch_norm)
    return Plan(trainable, batch_norm, tuple(_stage_plan(stage, layers, trained) for stage in stages), trained)


def stages_with_head(model: keras.Model) -> list[Stage]:
    """Lists the stages of a model from input to output; the last one is the head."""
    backbone = backbone_layers(model.layers, card(model))
    head = tuple(layer.name for layer in units_of(model.layers[len(backbone) :]))
    return [*stages_of(backbone, card(model)), Stage(HEAD, HEAD, head)]


def card(model: keras.Model) -> Card:
    """Gives the card of the backbone that `tlkeras.build` made the model from."""
    return Card.from_dict(_first_layer(model).card)


def recipe(model: keras.Model) -> dict:
    """Tells what `tlkeras.build` was asked for when it made the model, and which plan was applied to it last."""
    return _first_layer(model).recipe


def _first_layer(model: keras.Model) -> keras.layers.Layer:
    if not {"preprocess", "logits"} <= {layer.name for layer in model.layers}:
        raise TlkerasError(f"the model {model.name!r} was not made by tlkeras.build: it carries no card and no classes")
    return model.get_layer("preprocess")


def _chosen(trainable: str, stages: Sequence[Stage]) -> list[str]:
    *backbone, head = stages
    if trainable == "head":
        chosen = []
    elif not backbone:
        raise TlkerasError(f"trainable: nothing in this backbone can train; legal is head. Received: {trainable!r}")
    elif trainable == "all":
        chosen = backbone
    elif match := re.fullmatch(r"top:(\d+)", trainable):
        count = int(match.group(1))
        if not 1 <= count <= len(backbone):
            raise TlkerasError(f"top:N takes 1 to {len(backbone)} stages for this backbone. Received: {trainable!r}")
        chosen = backbone[-count:]
    else:
        return _matched(trainable, stages)
    return [name for stage in [*chosen, head] for name in stage.layers]


def _matched(patterns: str, stages: Sequence[Stage]) -> list[str]:
    chosen = set(stages[-1].layers)
    for pattern in filter(None, (part.strip() for part in patterns.split(","))):
        try:
            matches = re.compile(pattern).fullmatch
        except re.error as error:
            raise TlkerasError(f"trainable: {pattern!r} is no regular expression: {error}") from error
        found = {name for stage in stages for name in stage.layers if matches(name) or matches(stage.name)}
        if not found:
            raise TlkerasError(
                f"trainable: no stage and no layer has a name that {pattern!r} matches. Legal: head, all, top:N, or "
                f"patterns; the stages are {', '.join(stage.name for stage in stages)}"
            )
        chosen |= found
    return [name for stage in stages for name in stage.layers if name in chosen]


def _stage_plan(stage: Stage, layers: dict, trained: frozenset[str]) -> StagePlan:
    weighted = [layers[name] for name in stage.layers if layers[name].weights]
    norms = [layer for layer in weighted if _is_batch_norm(layer)]
    others = [layer for layer in weighted if not _is_batch_norm(layer) and _could_train(layer)]
    moving = [layer for layer in others if layer.name in trained]
    return StagePlan(
        name=stage.name,
        layers=tuple(layer.name for layer in weighted),
        parameters=sum(layer.count_params() for layer in weighted),
        trained_parameters=sum(math.prod(v.shape) for n in weighted if n.name in trained for v in _could_train(n)),
        trains="no" if not moving else "yes" if len(moving) == len(others) else "partly",
        batch_norm="" if not norms else "train" if any(layer.name in trained for layer in norms) else "frozen",
    )


def _could_train(layer: keras.layers.Layer) -> list[keras.Variable]:
    """Lists the weights of a layer that train where it does; moving statistics never do."""
    flag, layer.trainable = layer.trainable, True
    weights = layer.trainable_weights
    layer.trainable = flag
    return weights


def _is_batch_norm(layer: keras.layers.Layer) -> bool:
    if isinstance(layer, Unit):
        return layer.is_batch_norm
    return isinstance(layer, keras.layers.BatchNormalization)
