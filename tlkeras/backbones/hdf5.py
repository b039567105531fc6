"""Layers in an HDF5 file, as Keras 2 or Keras 3 saves it: what is in the file itself, and nothing that it points to."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from tlkeras.errors import TlkerasError

# Numbers that are unpacked at once, whatever comes of them.
_HARMLESS = 2**20


def layers_in(file: h5py.File, path: Path) -> dict[str, list[h5py.Dataset]]:
    """Finds the weights of each layer, by name and in the order of `layer.weights`; no value is read.

    Args:
        file: The open file.
        path: Where it is, for messages.

    Raises:
        TlkerasError: It takes values from other files.
        LookupError, TypeError, ValueError, RuntimeError, OSError, AttributeError: It is damaged, or of another kind.
    """
    _refuse_other_files(file, path)
    group = file.get("model_weights", file)
    return _keras2_layers(group) if "layer_names" in group.attrs else _keras3_layers(file)


def _refuse_other_files(file: h5py.File, path: Path) -> None:
    """Refuses a file that takes values from other files, any that the user can read, before one is read."""
    groups, seen = [file["/"]], {file["/"]}
    while groups:
        group = groups.pop()
        for name in group:
            where = f"weights {path} refused: {f'{group.name}/{name}'.lstrip('/')!r}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                raise TlkerasError(f"{where} is a link to another file")
            # A link within the file leads to what is found without it.
            found = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(found, h5py.Dataset):
                if found.external or found.is_virtual:
                    raise TlkerasError(f"{where} has its values in another file")
                if np.prod(found.chunks or 0) > max(found.size or 0, _HARMLESS):
                    raise TlkerasError(f"{where} is packed in chunks larger than itself")
            elif isinstance(found, h5py.Group) and found not in seen:
                groups.append(found)
                seen.add(found)


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


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
