"""Backbones of `keras.applications`, made flat and free of chance, on top of our own preprocessing."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable

import keras
import numpy as np

from tlkeras import zoo
from tlkeras.backbones.preprocess import TORCH_MEAN, TORCH_STD
from tlkeras.backbones.weight_files import set_weights
from tlkeras.errors import TlkerasError, in_one_line, unknown_name


def build(x, card: zoo.Card, weights: str | None) -> keras.Model:
    """Builds the network of the card without its top.

    Four things about it are changed, and no number with them. Sequentials inside are unfolded, so that every layer can
    be frozen by itself. Dropout inside becomes the identity, so that frozen features are always the same. Layers that
    Keras numbers in the order in which they are made (`layer_normalization_7`) are numbered from the start of their own
    model. Where Keras offers to normalise inside the network, that is left to the layer in front; EfficientNet, which
    always does it inside, gets the layers that it has with ImageNet weights whatever its weights are.

    Args:
        x: Normalised images `(batch, height, width, 3)`, computed from a `keras.Input`.
        card: Its source, or its network, is `keras:CLASS`.
        weights: A file that Keras loads into its own network, `imagenet` (Keras downloads them, or finds them in its
            own cache), or None for random ones.

    Returns:
        A flat model from that input to the feature map.

    Raises:
        TlkerasError: This Keras has no such network, images are too small, or the weights cannot be had.
    """
    source = _application(x, card, weights)
    names = _fresh_names(source.operations)
    rescalings = sum(isinstance(operation, keras.layers.Rescaling) for operation in source.operations)

    def clone(operation):
        if isinstance(operation, keras.Sequential):
            return operation
        if isinstance(operation, keras.layers.Dropout):
            return keras.layers.Activation("linear", name=operation.name, dtype=operation.dtype_policy)
        return _copy(operation, names)

    def call(operation, *args, **kwargs):
        if isinstance(operation, keras.layers.Normalization) and rescalings == 1:
            return _second_rescaling()(operation(*args, **kwargs))
        if not isinstance(operation, keras.Sequential):
            return operation(*args, **kwargs)
        (values,) = args
        for layer in operation.layers:
            values = _copy(layer, names)(values)
        return values

    model = keras.models.clone_model(source, clone_function=clone, call_function=call)
    if weights is not None:
        _copy_weights(source, model, names)
    else:
        _normalise_as_imagenet(model)
    return model


def _second_rescaling() -> keras.layers.Layer:
    """Makes the layer that EfficientNet has behind its normalisation, but in Keras with `weights="imagenet"` only.

    Its weights divide by the square root of the standard deviations where they should divide by these:
    https://github.com/tensorflow/tensorflow/issues/49930
    """
    return keras.layers.Rescaling([1.0 / math.sqrt(std) for std in TORCH_STD], name="rescaling_1")


def _normalise_as_imagenet(model: keras.Model) -> None:
    """Gives a normalisation inside, which is no thing to be learned, the mean and the variance that its files have."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Normalization):
            _, _, *others = layer.get_weights()
            set_weights(layer, [np.array(TORCH_MEAN), np.array(TORCH_STD), *others])


def _application(x, card: zoo.Card, weights: str | None) -> keras.Model:
    name = card.application
    makers = {name: make for name, make in vars(keras.applications).items() if inspect.isfunction(make)}
    if name not in makers:
        raise unknown_name(f"network of Keras {keras.__version__} on the card {card.name!r}", name, makers)
    options = {"include_top": False, "weights": weights, "input_tensor": x, "input_shape": tuple(x.shape[1:])}
    if "include_preprocessing" in inspect.signature(makers[name]).parameters:
        options["include_preprocessing"] = False
    try:
        return makers[name](**options)
    except Exception as error:
        if "must be at least" in str(error):
            small = f"images of {x.shape[1]} pixels a side are too small for {card.name!r}"
            raise TlkerasError(f"{small}: {in_one_line(error)}") from None
        # Keras words a failed download as a bare Exception: told from every other error by its exact type.
        if weights is None or not (type(error) is Exception or isinstance(error, (OSError, ValueError, LookupError))):
            raise
        what = "could not be downloaded by Keras" if weights == "imagenet" else f"cannot be loaded from {weights}"
        what = f"the ImageNet weights of {card.name!r} {what}: {in_one_line(error)}"
        raise TlkerasError(f"{what}. Give --weights FILE or --weights random") from None


def _fresh_names(operations: Iterable[keras.Operation]) -> dict[str, str]:
    """Maps the names that Keras numbered to those that a fresh session gives: `add_7`, `add_8` to `add`, `add_1`."""
    numbered: dict[str, dict[str, int]] = {}
    for operation in operations:
        base, number = re.fullmatch(r"(.*?)(?:_(\d+))?", operation.name).groups()
        if base.replace("_", "") == type(operation).__name__.lower():
            numbered.setdefault(base, {})[operation.name] = int(number or 0)
    fresh = {}
    for base, numbers in numbered.items():
        first = min(numbers.values())
        fresh |= {name: f"{base}_{n - first}" if n > first else base for name, n in numbers.items()}
    return fresh


def _copy(operation, names: dict[str, str]):
    config = operation.get_config()
    return type(operation).from_config({**config, "name": names.get(operation.name, operation.name)})


def _copy_weights(source: keras.Model, target: keras.Model, names: dict[str, str]) -> None:
    for layer in source.layers:
        for inner in layer.layers if isinstance(layer, keras.Sequential) else [layer]:
            if inner.weights:
                set_weights(target.get_layer(names.get(inner.name, inner.name)), inner.get_weights())
