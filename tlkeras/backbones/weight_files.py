"""Weights out of a file the user gives, by layer name, into a model that may be only a part of what was saved."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import keras
import numpy as np

from tlkeras.archives import read_member
from tlkeras.backbones import efficientnet_lite
from tlkeras.backbones.stages import units_of
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.pth import read_pth
from tlkeras.zoo import Card

# Whatever h5py, zipfile and NumPy stumble over in a damaged file.
_BROKEN = (
    OSError,
    LookupError,
    TypeError,
    ValueError,
    RuntimeError,
    EOFError,
    MemoryError,
    zlib.error,
    zipfile.BadZipFile,
)

SUFFIXES = (".keras", ".weights.h5", ".h5", ".pth")


@dataclass(frozen=True)
class Loaded:
    """What was taken from a file of weights.

    Attributes:
        file: The file.
        copied: Names of the layers that have their weights from it.
        left: Names of the layers that were left as they were, each with the reason.
    """

    file: Path
    copied: tuple[str, ...]
    left: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        count = len(self.copied) + len(self.left)
        lines = [f"weights {self.file}: copied {len(self.copied)} of {count} layers: {_listed(self.copied, 8, ', ')}"]
        if self.left:
            reasons = [f"{name} {reason}" for name, reason in self.left.items()]
            lines.append(f"left as they were, {len(self.left)} layers: {_listed(reasons, 8)}")
        return "\n".join(lines)


def load_weights(model: keras.Model, path: str | Path, card: Card, partial: bool = False) -> Loaded:
    """Sets the weights of the backbone from a file.

    Args:
        model: The backbone.
        path: `.keras` or `.weights.h5` as Keras 3 saves them (of the backbone, or of a whole model with a head), `.h5`
            as keras.applications downloads them, or a legacy `.pth` for EfficientNet-Lite.
        card: The card of the backbone.
        partial: Set the layers that fit by name and shape, and leave the others as they are.

    Raises:
        TlkerasError: the file cannot be read; it lacks weights or has them in other shapes, all of which are listed; or
            with `partial`, nothing in it fits.
    """
    path = Path(path)
    wanted = {layer.name: layer for layer in units_of(model.layers) if layer.weights}
    with _opened(path, card) as saved:
        misfits = _misfits(wanted, saved)
        if (
            not wanted.keys() <= saved.keys()
            and (ordered := _by_order(wanted, saved))
            and not _misfits(wanted, ordered)
        ):
            saved, misfits = ordered, {}
        if misfits and not (partial and len(misfits) < len(wanted)):
            raise _refused(path, card, misfits, len(wanted), partial)
        arrays = {name: [np.asarray(array) for array in saved[name]] for name in wanted if name not in misfits}
    for name, values in arrays.items():
        set_weights(wanted[name], values)
    return Loaded(path, tuple(arrays), misfits)


def set_weights(layer: keras.layers.Layer, values: Sequence[np.ndarray]) -> None:
    """Sets the weights of a layer, and with them the copies that a Normalization layer computes with."""
    layer.set_weights(values)
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()


def _misfits(wanted: Mapping[str, keras.layers.Layer], saved: Mapping[str, Sequence]) -> dict[str, str]:
    """Words for each layer that lacks weights, or has them in other shapes, what it needs and what there is."""
    misfits = {}
    for name, layer in wanted.items():
        shapes = [tuple(weight.shape) for weight in layer.weights]
        received = [tuple(array.shape) for array in saved.get(name, ())]
        if received != shapes:
            misfits[name] = f"needs {_words(shapes)}, the file has {_words(received)}"
    return misfits


def _refused(path: Path, card: Card, misfits: Mapping[str, str], count: int, partial: bool) -> TlkerasError:
    listed = _listed([f"{name}: {reason}" for name, reason in misfits.items()], 20)
    if partial:
        return TlkerasError(f"nothing in {path} fits {card.name!r} by name and shape: {listed}")
    then = ". --partial takes what fits" if len(misfits) < count else ""
    return TlkerasError(
        f"the weights in {path} do not fit {card.name!r} in {len(misfits)} of {count} layers: {listed}{then}"
    )


@contextlib.contextmanager
def _opened(path: Path, card: Card) -> Iterator[Mapping[str, Sequence]]:
    """Gives for each layer name what has the shapes of its weights, and is read when it is made an array."""
    if not path.is_file():
        raise TlkerasError(f"--weights is 'imagenet', 'random' or a file ({', '.join(SUFFIXES)}). Received: '{path}'")
    try:
        if path.suffix == ".pth":
            yield _torch_layers(path, card)
        elif path.suffix == ".keras":
            with h5py.File(io.BytesIO(read_member(path, "model.weights.h5"))) as file:
                yield _keras3_layers(file)
        else:
            with h5py.File(path) as file:
                group = file.get("model_weights", file)
                yield _keras2_layers(group) if "layer_names" in group.attrs else _keras3_layers(file)
    except _BROKEN as error:
        why = in_one_line(error)
        raise TlkerasError(f"weights {path} cannot be read ({why}). Legal: {', '.join(SUFFIXES)}") from None


def _torch_layers(path: Path, card: Card) -> dict[str, list[np.ndarray]]:
    if card.family != "efficientnet_lite":
        raise TlkerasError(f"{path}: a .pth file can be read for EfficientNet-Lite only, not for {card.name!r}")
    tensors = read_pth(path)
    try:
        return efficientnet_lite.weights_from_torch(tensors, card)
    except TlkerasError as error:
        raise TlkerasError(f"weights {path}: {error}") from None


def _keras3_layers(file: h5py.File) -> dict[str, list[h5py.Dataset]]:
    """Keras 3 keys its groups by class and count; the layer's own name is an attribute of the group `vars`."""
    layers = {}

    def visit(path, group):
        if path.endswith("/vars") and len(group) and "name" in group.attrs:
            layers[_text(group.attrs["name"])] = [group[str(i)] for i in range(len(group))]

    file.visititems(visit)
    return layers


def _keras2_layers(group: h5py.Group) -> dict[str, list[h5py.Dataset]]:
    """Keras 2 lists layers in order; a model within the model is one of them, and its weights say whose they are."""
    layers = {}
    for name in map(_text, group.attrs["layer_names"]):
        weights = [_text(weight) for weight in group[name].attrs["weight_names"]]
        owners = [weight.rpartition("/")[0].rpartition("/")[2] or name for weight in weights]
        nested = len(set(owners)) > 1
        for owner, weight in zip(owners, weights, strict=True):
            layers.setdefault(owner if nested else name, []).append(group[name][weight])
    return layers


def _by_order(wanted: Mapping[str, keras.layers.Layer], saved: Mapping[str, list]) -> dict[str, list] | None:
    """Where names disagree and the counts agree, the order counts, as it does when Keras loads its own files."""
    arrays = [array for layer in saved.values() for array in layer]
    if len(arrays) != sum(len(layer.weights) for layer in wanted.values()):
        return None
    left = iter(arrays)
    return {name: [next(left) for _ in layer.weights] for name, layer in wanted.items()}


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _words(shapes: list[tuple]) -> str:
    return " ".join(map(str, shapes)) if shapes else "nothing"


def _listed(texts: Iterable[str], most: int, between: str = "; ") -> str:
    texts = list(texts)
    more = [f"and {len(texts) - most} more"] if len(texts) > most else []
    return between.join([*texts[:most], *more])
