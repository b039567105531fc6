"""Weights out of a file the user gives, by layer name, into a model that may be only a part of what was saved."""

from __future__ import annotations

import contextlib
import io
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import h5py
import keras
import numpy as np

from tlkeras.archives import read_member
from tlkeras.backbones import efficientnet_lite, hdf5
from tlkeras.backbones.stages import units_of
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.pth import read_pth
from tlkeras.zoo import Card

# Whatever h5py, zipfile and NumPy stumble over in a damaged file.
_BROKEN = (
    AttributeError,
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
        said = f"weights {self.file}: copied {len(self.copied)} of {count} layers: {', '.join(self.copied)}"
        return said + (f"\nleft as they were, {len(self.left)} layers:{_lines(self.left)}" if self.left else "")


def load_weights(model: keras.Model, path: str | Path, card: Card, partial: bool = False) -> Loaded:
    """Sets the weights of the backbone from a file.

    Args:
        model: The backbone.
        path: `.keras` or `.weights.h5` as Keras 3 saves them (of the backbone, or of a whole model with a head), `.h5`
            as keras.applications downloads them, or a `.pth` for EfficientNet-Lite.
        card: The card of the backbone.
        partial: Set the layers that fit by name and shape, and leave the others as they are.

    Raises:
        TlkerasError: the file cannot be read; it leads to other files; it lacks weights or has them in other shapes or
            types, all of which are listed; some of them are not finite; or with `partial`, nothing in it fits.
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
    if wrong := [name for name, values in arrays.items() if not all(map(is_finite, values))]:
        raise TlkerasError(f"the weights in {path} are damaged: NaN, or beyond float32, in layers {', '.join(wrong)}")
    for name, values in arrays.items():
        set_weights(wanted[name], values)
    return Loaded(path, tuple(arrays), misfits)


def set_weights(layer: keras.layers.Layer, values: Sequence[np.ndarray]) -> None:
    """Sets the weights of a layer, and with them the copies that a Normalization layer computes with."""
    layer.set_weights(values)
    if isinstance(layer, keras.layers.Normalization):
        layer.finalize_state()


def is_finite(values: np.ndarray) -> bool:
    """Says whether all values are numbers that float32 can hold."""
    # No comparison holds for NaN.
    return bool(np.all(np.abs(values) <= np.finfo(np.float32).max))


def _misfits(wanted: Mapping[str, keras.layers.Layer], saved: Mapping[str, Sequence]) -> dict[str, str]:
    """Words for each layer that lacks weights, or has them otherwise than it needs, what it needs and what there is."""
    misfits = {}
    for name, layer in wanted.items():
        received = saved.get(name, ())
        if len(received) != len(layer.weights) or not all(map(_fits, received, layer.weights)):
            misfits[name] = f"needs {_words(layer.weights)}, the file has {_words(received)}"
    return misfits


def _fits(array, weight: keras.Variable) -> bool:
    kinds = "f" if keras.backend.is_float_dtype(weight.dtype) else "iub"
    return array.shape == tuple(weight.shape) and array.dtype.kind in kinds


def _refused(path: Path, card: Card, misfits: Mapping[str, str], count: int, partial: bool) -> TlkerasError:
    if partial:
        return TlkerasError(f"nothing in {path} fits {card.name!r} by name and shape:{_lines(misfits)}")
    then = "\n--partial takes what fits" if len(misfits) < count else ""
    return TlkerasError(
        f"the weights in {path} do not fit {card.name!r} in {len(misfits)} of {count} layers:{_lines(misfits)}{then}"
    )


@contextlib.contextmanager
def _opened(path: Path, card: Card) -> Iterator[Mapping[str, Sequence]]:
    """Gives for each layer name what has the shapes of its weights, and is read when it is made an array."""
    if not path.is_file() or not path.name.endswith(SUFFIXES):
        raise TlkerasError(f"--weights is 'imagenet', 'random' or a file ({', '.join(SUFFIXES)}). Received: '{path}'")
    try:
        if path.suffix == ".pth":
            yield _torch_layers(path, card)
        elif path.suffix == ".keras":
            with h5py.File(io.BytesIO(read_member(path, "model.weights.h5"))) as file:
                yield hdf5.layers_in(file, path)
        else:
            with h5py.File(path) as file:
                yield hdf5.layers_in(file, path)
    except _BROKEN as error:
        why = in_one_line(error)
        raise TlkerasError(f"weights {path} cannot be read ({why}). Legal: {', '.join(SUFFIXES)}") from None


def _torch_layers(path: Path, card: Card) -> dict[str, list[np.ndarray]]:
    if card.family != "efficientnet_lite":
        raise TlkerasError(f"{path}: a .pth file can be read for EfficientNet-Lite only, not for {card.name!r}")
    return efficientnet_lite.weights_from_torch(read_pth(path), card)


def _by_order(wanted: Mapping[str, keras.layers.Layer], saved: Mapping[str, list]) -> dict[str, list] | None:
    """Where names disagree and the counts agree, the order counts, as it does when Keras loads its own files."""
    arrays = [array for layer in saved.values() for array in layer]
    if len(arrays) != sum(len(layer.weights) for layer in wanted.values()):
        return None
    left = iter(arrays)
    return {name: [next(left) for _ in layer.weights] for name, layer in wanted.items()}


def _words(arrays: Sequence) -> str:
    """Words shapes, and types where they are not the usual."""
    types = [getattr(array.dtype, "name", array.dtype) for array in arrays]
    shapes = [str(array.shape) for array in arrays]
    words = [s if "float" in kind else f"{s} of {kind}" for s, kind in zip(shapes, types, strict=True)]
    return " ".join(words) or "nothing"


def _lines(reasons: Mapping[str, str]) -> str:
    return "".join(f"\n  {name} {reason}" for name, reason in reasons.items())
