"""Labelled images: found, checked, split once, and read the same way for training and serving."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlkeras import spec as specs
from tlkeras.data import sources
from tlkeras.data import split as splitting
from tlkeras.data.check import Progress, check
from tlkeras.data.dataset import PARTS, Data, Example, Excluded, Source
from tlkeras.data.sources.labels import refuse_other_classes
from tlkeras.errors import TlkerasError

__all__ = ["Data", "Example", "Excluded", "load", "load_all", "reload"]


def load(
    source: str | os.PathLike,
    *,
    split: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    path_column: str = "path",
    label_column: str = "label",
    data_dir: str = "",
    download: bool = False,
    progress: Progress | None = None,
) -> Data:
    """Finds the images of a source, checks each, and splits them into train, val and test.

    Data that comes split stays so: what is in its test part is never trained on, and a part that it lacks is cut from
    train. The same picture is kept once. What cannot be used is left out with its reason, and never touched.

    Args:
        source: A folder of class folders, or one with `train/` and `val/` or `test/` of such folders; `csv:FILE`;
            `tfds:NAME[:CONFIG]`; `digits`.
        split: Shares of train, val and test.
        seed: Decides the split.
        path_column: Of a CSV file.
        label_column: Of a CSV file.
        data_dir: Where TensorFlow Datasets keeps its data.
        download: Let TensorFlow Datasets download.
        progress: Called with (files checked, files in all).

    Raises:
        TlkerasError: There is no such source, or too little in it can be used.
    """
    source = os.fspath(source)
    specs.make({"split": list(split), "seed": seed})
    data_dir = str(Path(data_dir).expanduser().absolute()) if data_dir else ""
    options = {"path_column": path_column, "label_column": label_column, "data_dir": data_dir, "download": download}
    found = sources.find(source, **options)
    refuse_other_classes(source, found.examples)
    examples, excluded = _usable(found, progress)
    warnings = []
    if small := splitting.too_small(examples):
        warnings += [f"{reason}; it is left out" for reason in small.values()]
        excluded += [Excluded(e.name, small[e.label]) for e in examples if e.label in small]
        examples = [example for example in examples if example.label not in small]
    classes = sorted({example.label for example in examples})
    _refuse_too_little(source, found, {example.part for example in examples}, classes, excluded)
    assigned = splitting.assign(examples, split, seed)
    parts = {part: [example for example in assigned if example.part == part] for part in PARTS}
    settings = {"data": sources.absolute(source), "split": list(split), "seed": seed, **options}
    return Data(source, found.root, classes, parts, excluded, warnings, settings)


def load_all(
    source: str | os.PathLike, *, progress: Progress | None = None, **options
) -> tuple[list[Example], list[Excluded]]:
    """Finds and checks the images of a source that is only to be judged: its test part where it has one, else all.

    Args:
        source: As in `load`.
        progress: As in `load`.
        **options: `path_column`, `label_column`, `data_dir` and `download`, as in `load`.
    """
    found = sources.find(os.fspath(source), **options)
    tested = [example for example in found.examples if example.part == "test"]
    examples, excluded = _usable(replace(found, examples=tested or found.examples), progress)
    if not examples:
        raise TlkerasError(f"{source} has no usable images; the first reason: {excluded[0].reason}")
    return examples, excluded


def reload(folder: str | os.PathLike, settings: dict, verified: Sequence[str] = PARTS) -> Data:
    """Restores the data of a run from the split that its folder recorded; see `Data.read`."""
    options = {key: settings[key] for key in sources.OPTIONS}
    return Data.read(folder, settings["data"], sources.root(settings["data"], **options), settings, verified)


def _usable(found: Source, progress: Progress | None) -> tuple[list[Example], list[Excluded]]:
    checked = check([example.path for example in found.examples], found.root, progress)
    pairs = list(zip(found.examples, checked, strict=True))
    good = [replace(example, sha256=outcome.sha256) for example, outcome in pairs if not outcome.reason]
    damaged = [Excluded(example.name, outcome.reason) for example, outcome in pairs if outcome.reason]
    kept, copies = splitting.without_copies(good)
    return kept, [*found.excluded, *damaged, *copies]


def _refuse_too_little(
    source: str, found: Source, usable_parts: set, classes: list[str], excluded: list[Excluded]
) -> None:
    labels = sorted({example.label for example in found.examples})
    why = f"; {len(excluded)} files were left out, the first: {excluded[0].reason}" if excluded else ""
    if len(labels) < 2:
        raise TlkerasError(f"{source} has one class only, {labels[0]!r}; a classifier needs two or more")
    if len(labels) >= len(found.examples):
        raise TlkerasError(
            f"{source} has {len(labels)} classes for {len(found.examples)} images; a class needs images to learn from "
            f"and others to be judged by"
        )
    if lost := {example.part for example in found.examples} - usable_parts - {None}:
        raise TlkerasError(f"the part {min(lost)} of {source} has no usable image{why}")
    if len(classes) < 2:
        raise TlkerasError(f"{source} has {len(classes)} usable classes of {len(labels)}; two are needed{why}")
