"""What a run is recorded by: its spec, its card and its split, written as it begins and read by all that follows."""

from __future__ import annotations

from collections.abc import Sequence

from tlkeras import backbones, zoo
from tlkeras import data as data_room
from tlkeras import spec as specs
from tlkeras.data import sources
from tlkeras.data.dataset import PARTS, Data
from tlkeras.engine.runs import RunFolder
from tlkeras.errors import TlkerasError

DATA = ("data", "split", "seed", *sources.OPTIONS)
RECIPE = (
    "backbone",
    "stages",
    "weights",
    "partial",
    "image_size",
    "trainable",
    "batch_norm",
    "pooling",
    "dropout",
    "mixed_precision",
)
_OF_IMAGES = ("image_size", "augment", "pooling")


def check_fits(spec: specs.RunSpec, task: str) -> None:
    """Refuses settings of images where the backbone takes texts."""
    defaults = specs.RunSpec()
    if task == "text" and (given := [k for k in _OF_IMAGES if getattr(spec, k) != getattr(defaults, k)]):
        raise TlkerasError(
            f"{', '.join(f'{key} = {getattr(spec, key)!r}' for key in given)}: only for images, and "
            f"{spec.backbone!r} takes texts; leave it out"
        )


def card_of(spec: specs.RunSpec, folder: RunFolder | None = None) -> zoo.Card:
    """Finds the card of a spec; a run that was begun goes on with the card that it kept."""
    if folder and (kept := folder.read_card()):
        return kept
    return backbones.find(spec.backbone, spec.image_size, spec.stages, spec.card)


def recorded(folder: RunFolder, spec: specs.RunSpec, verified: Sequence[str] = PARTS) -> Data:
    """Restores the data of a run from its record; the examples of the verified parts must be there, unchanged."""
    return data_room.reload(
        folder.path, {key: getattr(spec, key) for key in DATA}, verified, card_of(spec, folder).task
    )


def record(folder: RunFolder, card: zoo.Card, spec: specs.RunSpec, data: Data) -> None:
    """Writes down what a run begins with, which makes the folder a run folder."""
    folder.write_card(card)
    folder.write_spec(spec)
    data.write(folder.path)
