"""Weights out of a file the user gives, by layer name, into a model that may be only a part of what was saved."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import h5py
import keras
import numpy as np

from tlkeras.backbones import efficientnet_lite
from tlkeras.backbones.stages import units_of
from tlkeras.errors import TlkerasError
from tlkeras.pth import read_pth
from tlkeras.zoo import Card

# Whatever h5py, zipfile and NumPy stumble over in a damaged file.
_BROKEN = (OSError, LookupError, TypeError, ValueError, RuntimeError, EOFError, zlib.error, zipfile.BadZipFile)

SUFFIXES = (".keras", ".weights.h5", ".h5", ".pth")


def load_weights(model: keras.Model, path: str | Path, card: Card) -> None:
    """Sets every weight of the backbone from a file.

    Args:
        model: The backbone.
        path: `.keras` or `.weights.h5` as Keras 3 saves them (of the backbone, or of a whole model with a head), `.h5`
            as keras.applications downloads them, or a legacy `.pth` for EfficientNet-Lite.
        card: The card of the backbone.

    Raises:
        TlkerasError: the file cannot be read, or lacks weights, or has them in other shapes: all of them are listed.
    """
    saved = read_weights(path, card)
    wanted = {layer.name: layer for layer in units_of(model.layers) if layer.weights}
    if not wanted.keys() <= saved.keys():
        saved = _by_order(wanted, saved)
    wrong = []
    for name, layer in wanted.items():
        shapes = [tuple(weight.shape) for weight in layer.weights]
        received = [array.shape for array in saved[name]] if name in saved else None
        if received != shapes:
            wrong.append(f"{name}: needs {_words(shapes)}, the file has {_words(received)}")
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise TlkerasError(
            f"the weights in {path} do not fit {card.name!r} in {len(wrong)} of {len(wanted)} layers: "
            f"{'; '.join(wrong[:5])}{more}"
        )
    for name, layer in wanted.items():
        layer.set_weights(saved[name])


def read_weights(path: str | Path, card: Card) -> dict[str, list[np.ndarray]]:
    """Reads the arrays of each layer, by layer name, in the order of `layer.weights` and of the file."""
    path = Path(path)
    if not path.is_file():
        raise TlkerasError(f"--weights is 'imagenet', 'random' or a file ({', '.join(SUFFIXES)}). Received: '{path}'")
    try:
        if path.suffix == ".pth":
            if card.family != "efficientnet_lite":
                raise TlkerasError(f"{path}: a .pth file can be read for EfficientNet-Lite only, not for {card.name!r}")
            tensors = read_pth(path)
            try:
                return efficientnet_lite.weights_from_torch(tensors, card)
            except TlkerasError as error:
                raise TlkerasError(f"weights {path}: {error}") from None
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
                return _keras3_layers(file)
        with h5py.File(path) as file:
            group = file.get("model_weights", file)
            return _keras2_layers(group) if "layer_names" in group.attrs else _keras3_layers(file)
    except _BROKEN as error:
        raise TlkerasError(f"weights {path} cannot be read ({error}). Legal: {', '.join(SUFFIXES)}") from None


def _keras3_layers(file: h5py.File) -> dict[str, list[np.ndarray]]:
    """Keras 3 keys its groups by class and count; the layer's own name is an attribute of the group `vars`."""
    layers = {}

    def visit(path, group):
        if path.endswith("/vars") and len(group) and "name" in group.attrs:
            layers[_text(group.attrs["name"])] = [np.asarray(group[str(i)]) for i in range(len(group))]

    file.visititems(visit)
    return layers


def _keras2_layers(group: h5py.Group) -> dict[str, list[np.ndarray]]:
    layers = {}
    for name in map(_text, group.attrs["layer_names"]):
        if names := [_text(weight) for weight in group[name].attrs["weight_names"]]:
            layers[name] = [np.asarray(group[name][weight]) for weight in names]
    return layers


def _by_order(wanted: Mapping[str, keras.layers.Layer], saved: Mapping[str, list]) -> Mapping[str, list[np.ndarray]]:
    """Where names disagree and the counts agree, the order counts, as it does when Keras loads its own files."""
    arrays = [array for layer in saved.values() for array in layer]
    if len(arrays) != sum(len(layer.weights) for layer in wanted.values()):
        return saved
    left = iter(arrays)
    return {name: [next(left) for _ in layer.weights] for name, layer in wanted.items()}


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _words(shapes: list[tuple] | None) -> str:
    return " ".join(map(str, shapes)) if shapes else "nothing"
