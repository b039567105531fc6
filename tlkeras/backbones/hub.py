"""Backbones out of modules of TF-Hub: with a card, or with no more than a handle."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from pathlib import Path

import keras

from tlkeras.backbones import hub_places
from tlkeras.backbones.hub_module import EVERYTHING, HubModule
from tlkeras.backbones.preprocess import Preprocess
from tlkeras.backbones.text import TextPreprocess
from tlkeras.errors import TlkerasError
from tlkeras.zoo import Card

SCHEME = "hub:"
# For modules that take images of any size.
_USUAL_SIZE = 224


def build(card: Card, image_size: int | None, recipe: dict | None) -> tuple[keras.Model, Card]:
    """Builds the backbone of a card whose source is `hub:HANDLE`.

    Images are normalised by the layer `preprocess` (TF-Hub's convention is 0..1, the outside one 0..255) and go through
    the layer `module`; texts do through `module`, after `preprocessor` where the card has one. All of it is float32.

    Returns:
        The model, and the card with the features, the parameters and, where it has none, the stages that were found.

    Raises:
        TlkerasError: The module is not found, or takes neither images nor texts.
    """
    module = HubModule(_handle(card.source), card.arguments, card.output_key, name="module")
    if not card.stages:
        card = dataclasses.replace(card, stages=tuple(module.stage_patterns()))
    if card.task == "image":
        size = image_size or card.input_size
        inputs = keras.Input(_image_shape(module, size, card.name), name="image", dtype="float32")
        if card.preprocess != "none" and not module.saved.input.dtype.is_floating:
            raise TlkerasError(
                f"card {card.name!r}, key 'preprocess': must be none, as its module takes whole numbers, 0..255. "
                f"Received: {card.preprocess!r}"
            )
        x = Preprocess(card.to_dict(), recipe, name="preprocess", dtype="float32")(inputs)
    else:
        inputs = keras.Input((), name="text", dtype="string")
        x = TextPreprocess(card.to_dict(), recipe, name="preprocess", dtype="float32")(inputs)
        if card.preprocessor:
            x = _preprocessor(card.preprocessor)(x)
        _check_texts(x, module.saved.input, card.name)
    model = keras.Model(inputs, module(x), name=card.name)
    # A card repeats what was published of a module; what it says of itself is the truth.
    found = {"features": _features(model.output, f"the module of {card.name!r}"), "parameters": model.count_params()}
    model.get_layer("preprocess").card.update(found)
    return model, dataclasses.replace(card, **found)


def card_of(handle: str, image_size: int = 0) -> Card:
    """Makes a card for a module that has none, from what the module says of itself.

    Args:
        handle: `hub:HANDLE`.
        image_size: Pixels a side; 0 is the module's own size, or 224 where it takes any.

    Raises:
        TlkerasError: The module is not found, or takes neither images nor texts.
    """
    handle = _handle(handle)
    return _look(handle, hub_places.graph_sha256(hub_places.find(handle, "module")), image_size)


@functools.lru_cache(maxsize=8)
def _look(handle: str, sha256: str, image_size: int) -> Card:
    """Loads a module to see what it is; its graph is a part of the key, as a handle may mean another one later."""
    module = HubModule(handle, sha256=sha256, name="module")
    spec, where = module.saved.input, f"the module {handle}"
    if isinstance(spec, Mapping):
        raise TlkerasError(
            f"{where} takes {', '.join(spec)}: it needs a card with a `preprocessor`, and --backbone NAME"
        )
    is_text = spec.dtype == "string"
    if is_text:
        size, inputs = 0, keras.Input((), dtype="string")
    else:
        size = image_size or _fixed_size(spec) or _USUAL_SIZE
        inputs = keras.Input(_image_shape(module, size, handle), dtype="float32")
    return Card(
        name=_word(handle),
        family="hub",
        source=f"{SCHEME}{handle}",
        input_size=size,
        features=_features(module(inputs), where),
        parameters=module.count_params(),
        preprocess="none" if is_text or not spec.dtype.is_floating else "unit",
        stages=tuple(module.stage_patterns()),
        license="unknown",
        task="text" if is_text else "image",
    )


def keep(model: keras.Model, folder: Path) -> None:
    """Copies the modules of a model into a run folder, so that the run needs nothing else."""
    for layer in model.layers:
        if isinstance(layer, HubModule):
            copy = (folder / layer.name).absolute()
            hub_places.keep(layer.folder, copy)
            layer.copy = str(copy)


def _handle(source: str) -> str:
    if not (handle := source.removeprefix(SCHEME).strip()):
        raise TlkerasError("a handle is hub:FOLDER, hub:ARCHIVE.tar.gz or hub:https://…. Received: 'hub:'")
    return hub_places.absolute(handle)


def _preprocessor(source: str) -> HubModule:
    layer = HubModule(_handle(source), output_key=EVERYTHING, name="preprocessor")
    if layer.units:
        raise TlkerasError(f"the preprocessor {source} has variables, and so is more than a preprocessor")
    return layer


def _check_texts(prepared, spec, name: str) -> None:
    received, wanted = (sorted(x) if isinstance(x, Mapping) else "one tensor" for x in (prepared, spec))
    if received != wanted:
        raise TlkerasError(
            f"card {name!r}: the module takes {wanted}; what makes that of texts goes on the card as `preprocessor`. "
            f"Received: {received}"
        )


def _image_shape(module: HubModule, size: int, name: str) -> tuple[int, int, int]:
    spec = module.saved.input
    if isinstance(spec, Mapping) or spec.shape.rank != 4 or spec.shape[-1] not in (3, None):
        raise TlkerasError(
            f"{name}: a backbone takes images (batch, height, width, 3) or texts (batch,). Its module takes {spec}"
        )
    if _fixed_size(spec) not in (0, size):
        raise TlkerasError(f"image_size: the module of {name} takes {_fixed_size(spec)} pixels. Received: {size}")
    return size, size, 3


def _fixed_size(spec) -> int:
    return (spec.shape.rank == 4 and spec.shape[1]) or 0


def _features(output, where: str) -> int:
    if len(output.shape) < 2 or output.shape[-1] is None or not keras.backend.is_float_dtype(output.dtype):
        raise TlkerasError(
            f"{where} must give floating numbers of a shape (batch, …, features). Its output: {output.dtype} "
            f"{tuple(output.shape)}"
        )
    return output.shape[-1]


def _word(handle: str) -> str:
    """Makes a name of a handle: the last of its path, and what stands before as far as it is needed to tell.

    >>> _word("https://tfhub.dev/google/imagenet/mobilenet_v2_100_224/feature_vector/5")
    'mobilenet_v2_100_224_feature_vector_5'
    """
    plain = re.sub(r"^https?://[^/]*|[?#].*$|\.(tar\.gz|tgz|tar|zip)$", "", handle)
    parts = [part for part in re.split(r"[/\\]", plain) if part]
    count = 3 if hub_places.is_address(handle) else 2 if parts and parts[-1].isdigit() else 1
    return re.sub(r"[^\w.-]+", "_", "_".join(parts[-count:])) or "module"
