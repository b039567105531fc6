"""The frontier between what is frozen and what trains: a model is split there, and stays one model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import numpy as np

from tlkeras.backbones.hub_module import HubModule

# What of a layer's config says nothing about what a frozen layer computes.
_NAMES = {"name", "trainable", "build_config", "recipe", "handle", "copy", "trained", "units", "batch_norm"}
_OF_TRAINING = ("_initializer", "_regularizer", "_constraint")


@dataclass(frozen=True)
class Split:
    """A model in two parts that share its layers: `rest(frozen(x))` is `model(x)`, and what `rest` learns, it knows.

    Attributes:
        frozen: From the model's input to the tensors that cross the frontier.
        rest: From those tensors (one, or a tuple of them) to the model's output.
        frontier: Names of the layers whose outputs cross it.
    """

    frozen: keras.Model
    rest: keras.Model
    frontier: list[str]

    def fingerprint(self) -> dict[str, str]:
        """Hashes what the frozen part computes: `weights`, and `signature` (its layers but for their names)."""
        weights, layers = hashlib.sha256(), []
        numbers: dict[int, tuple[int, int]] = {}
        for number, node in enumerate(_nodes(self.frozen)):
            for position, tensor in enumerate(node.output_tensors):
                numbers[id(tensor)] = number, position
            layers.append(
                [
                    type(node.operation).__name__,
                    _described(node.operation),
                    [numbers.get(id(tensor)) for tensor in node.input_tensors],
                    repr([value for value in _arguments(node) if not keras.utils.is_keras_tensor(value)]),
                ]
            )
            for variable in getattr(node.operation, "variables", ()):
                value = keras.ops.convert_to_numpy(variable)
                weights.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).data)
        layers.append([numbers[id(tensor)] for tensor in self.frozen.outputs])
        signature = hashlib.sha256(json.dumps(layers, sort_keys=True, default=str).encode()).hexdigest()
        return {"weights": weights.hexdigest(), "signature": signature}


def split(model: keras.Model) -> Split | None:
    """Splits a functional model after the last layers that no layer comes before which trains or is random.

    Args:
        model: Flat, with one output. Skip connections may cross the frontier.

    Returns:
        The two parts; None where nothing with weights is frozen before the first layer that trains.
    """
    frozen = {id(tensor) for tensor in model.inputs}
    cut: dict[int, keras.KerasTensor] = {}
    has_weights = False
    for node in _nodes(model):
        if not node.input_tensors:
            continue
        if _computes_the_same(node.operation) and all(id(tensor) in frozen for tensor in node.input_tensors):
            frozen |= {id(tensor) for tensor in node.output_tensors}
            has_weights = has_weights or bool(getattr(node.operation, "variables", ()))
        else:
            cut |= {id(tensor): tensor for tensor in node.input_tensors if id(tensor) in frozen}
    tensors = list(cut.values())
    if not has_weights or not tensors or id(model.outputs[0]) in frozen:
        return None
    frontier = [tensor._keras_history.operation.name for tensor in tensors]
    # With an input among them, every image itself would be stored as well.
    if any(id(tensor) == id(given) for tensor in tensors for given in model.inputs):
        return None
    given = tensors[0] if len(tensors) == 1 else tuple(tensors)
    return Split(
        keras.Model(model.input, tensors, name="frozen"), keras.Model(given, model.outputs[0], name="rest"), frontier
    )


def _nodes(model: keras.Model) -> Iterator:
    """Gives the nodes of a model's graph, each after those that it takes from."""
    for _, nodes in sorted(model._nodes_by_depth.items(), reverse=True):
        yield from nodes


def _arguments(node) -> list:
    return keras.tree.flatten((node.arguments.args, node.arguments.kwargs))


def _computes_the_same(operation: keras.Operation) -> bool:
    if isinstance(operation, HubModule):
        return not operation.trains
    if not isinstance(operation, keras.layers.Layer):
        return True
    if any(layer._seed_generators for layer in operation._flatten_layers()):
        return False
    return not (operation.trainable and operation.variables)


def _described(operation: keras.Operation) -> dict:
    if not isinstance(operation, keras.layers.Layer):
        return {}
    config = {k: v for k, v in operation.get_config().items() if k not in _NAMES and not k.endswith(_OF_TRAINING)}
    if "card" in config:
        config["card"] = {key: config["card"].get(key) for key in ("preprocess", "task", "preprocessor")}
    return config
