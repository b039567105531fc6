"""Labelled images or texts: found, checked, split once, and read the same way for training and serving."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tlkeras import spec as specs
from tlkeras import zoo
from tlkeras.data import sources, texts
from tlkeras.data import split as splitting
from tlkeras.data.check import Progress, check
from tlkeras.data.dataset import PARTS, Data, Example, Excluded, Source
from tlkeras.data.sources.labels import refuse_other_classes
from tlkeras.errors import TlkerasError, unknown_name

__all__ = ["Data", "Example", "Excluded", "load", "load_all", "reload"]


def load(
    source: str | os.PathLike,
    task: str = "image",
    *,
    split: Sequence[float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    path_column: str = "path",
    label_column: str = "label",
    text_column: str = "text",
    data_dir: str = "",
    download: bool = False,
    progress: Progress | None = None,
) -> Data:
    """Finds the images or texts of a source, checks each, and splits them into train, val and test.

    Data that comes split stays so: what is in its test part is never trained on, and a part that it lacks is cut from
    train. The same picture or text is kept once. What cannot be used is left out with its reason, and never touched.

    Args:
        source: A folder of class folders, or one with `train/` and `val/` or `test/` of such folders, with images or
            .txt files in them; `csv:FILE`; `tsv:FILE` (texts); `tfds:NAME[:CONFIG]`; `digits` (images).
        task: `image` or `text`, as the card of the backbone says.
        split: Shares of train, val and test.
        seed: Decides the split.
        path_column: Of a CSV file of images.
        label_column: Of a table; a number counts columns from 1 and means that the table has no header.
        text_column: Of a table of texts, likewise.
        data_dir: Where TensorFlow Datasets keeps its data.
        download: Let TensorFlow Datasets download.
        progress: Called with (examples checked, examples in all).

    Raises:
        TlkerasError: There is no such source, or too little in it can be used.
    """
    source = os.fspath(source)
    specs.make({"split": list(split), "seed": seed})
    data_dir = str(Path(data_dir).expanduser().absolute()) if data_dir else ""
    options = {"path_column": path_column, "label_column": str(label_column), "text_column": str(text_column)}
    options |= {"data_dir": data_dir, "download": download}
    if task not in zoo.TASKS:
        raise unknown_name("task", task, zoo.TASKS)
    found = sources.find(source, task, **options)
    refuse_other_classes(source, found.examples)
    examples, excluded = _usable(found, task, progress)
    warnings = []
    if small := splitting.too_small(examples, f"{task}s"):
        warnings += [f"{reason}; it is left out" for reason in small.values()]
        excluded += [Excluded(e.name, small[e.label]) for e in examples if e.label in small]
        examples = [example for example in examples if example.label not in small]
    classes = sorted({example.label for example in examples})
    _refuse_too_little(source, task, found, {example.part for example in examples}, classes, excluded)
    assigned = splitting.assign(examples, split, seed)
    parts = {part: [example for example in assigned if example.part == part] for part in PARTS}
    settings = {"data": sources.absolute(source), "split": list(split), "seed": seed, **options}
    return Data(source, found.root, classes, parts, excluded, warnings, settings, task)


def load_all(
    source: str | os.PathLike, task: str = "image", *, progress: Progress | None = None, **options
) -> tuple[list[Example], list[Excluded]]:
    """Finds and checks what is only to be judged: the test part of a source where it has one, else all.

    Args:
        source: As in `load`.
        task: As in `load`.
        progress: As in `load`.
        **options: `path_column`, `label_column`, `text_column`, `data_dir` and `download`, as in `load`.
    """
    found = sources.find(os.fspath(source), task, **options)
    tested = [example for example in found.examples if example.part == "test"]
    examples, excluded = _usable(replace(found, examples=tested or found.examples), task, progress)
    if not examples:
        raise TlkerasError(f"{source} has no usable {task}s; the first reason: {excluded[0].reason}")
    return examples, excluded


def reload(folder: str | os.PathLike, settings: dict, verified: Sequence[str] = PARTS, task: str = "image") -> Data:
    """Restores the data of a run from the split that its folder recorded; see `Data.read`."""
    source, options = settings["data"], {key: settings[key] for key in sources.OPTIONS}

    def texts_now(examples: Sequence[Example]) -> list[Example]:
        if examples and sources.is_table(source):
            there = {example.name: example for example in sources.find(source, task, **options).examples}
            found = [(example, there.get(example.name)) for example in examples]
            examples = [replace(e, path=now.path, text=now.text) if now else replace(e, text="") for e, now in found]
        blank = [replace(example, sha256="") for example in examples]
        return [example for example, _ in texts.check(blank)]

    look_again = texts_now if task == "text" else None
    root = sources.root(source, task, **options)
    return Data.read(folder, source, root, settings, verified, look_again, task)


def _usable(found: Source, task: str, progress: Progress | None) -> tuple[list[Example], list[Excluded]]:
    if task == "text":
        pairs = texts.check(found.examples, progress)
    else:
        checked = check([example.path for example in found.examples], found.root, progress)
        both = zip(found.examples, checked, strict=True)
        pairs = [(replace(example, sha256=outcome.sha256), outcome.reason) for example, outcome in both]
    good = [example for example, reason in pairs if not reason]
    damaged = [Excluded(example.name, reason) for example, reason in pairs if reason]
    kept, copies = splitting.without_copies(good, "text" if task == "text" else "picture")
    return kept, [*found.excluded, *damaged, *copies]


def _refuse_too_little(
    source: str, task: str, found: Source, usable_parts: set, classes: list[str], excluded: list[Excluded]
) -> None:
    labels = sorted({example.label for example in found.examples})
    why = (
        f"; {len(excluded)} {'files' if task == 'image' else 'texts'} were left out, the first: {excluded[0].reason}"
        if excluded
        else ""
    )
    if len(labels) < 2:
        raise TlkerasError(f"{source} has one class only, {labels[0]!r}; a classifier needs two or more")
    if len(labels) >= len(found.examples):
        raise TlkerasError(
            f"{source} has {len(labels)} classes for {len(found.examples)} {task}s; a class needs {task}s to learn "
            f"from and others to be judged by"
        )
    if lost := {example.part for example in found.examples} - usable_parts - {None}:
        raise TlkerasError(f"the part {min(lost)} of {source} has no usable {task}{why}")
    if len(classes) < 2:
        raise TlkerasError(f"{source} has {len(classes)} usable classes of {len(labels)}; two are needed{why}")
