"""Other formats than the SavedModel: a model becomes one file, which counts once it was seen to be as good."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tlkeras
from tlkeras.backbones.text import takes_texts
from tlkeras.data.dataset import Data
from tlkeras.data.pipeline import image_set, input_set
from tlkeras.errors import TlkerasError, unknown_name
from tlkeras.export import compare, keras_file, lite, on_onnx
from tlkeras.export.compare import MAX_DROP, Answer, Figures
from tlkeras.files import remove_abandoned, written_aside

SUFFIXES = {"tflite": ".tflite", "onnx": ".onnx", "keras": ".keras"}
# Largest difference of a probability where nothing was quantised.
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Converted:
    """A model in another format, and how it compares with the one that it was made of.

    Attributes:
        path: The file; beside it lies one of the same name with the suffix `.json`.
        count: Examples of the test part.
        forms: Figures of the original first, then of what was made of it in turn; the last one is the file.
        difference: Largest difference of a probability between the file and the model that it was converted from, on
            the same input.
        same_class: Share of the examples for which the file names the class that the original names.
    """

    path: Path
    count: int
    forms: list[Figures]
    difference: float
    same_class: float


def check_fits(model: keras.Model, format: str, quantize: str = "none") -> None:
    """Refuses what cannot come to anything, before the work.

    Raises:
        TlkerasError: The format or the quantization is unknown, needs what is not installed, or takes no such model.
    """
    if format not in SUFFIXES:
        raise unknown_name("format", format, SUFFIXES)
    if quantize not in lite.QUANTIZATIONS:
        raise unknown_name("quantization", quantize, lite.QUANTIZATIONS)
    if quantize != "none" and format != "tflite":
        raise TlkerasError(f"quantize {quantize!r} is for the format tflite. Received: format {format!r}")
    if format != "keras" and takes_texts(model):
        raise TlkerasError(
            f"format {format} has no operations for the tokenizer of a model of texts; the formats savedmodel and "
            f"keras take it"
        )
    if format == "tflite":
        lite.check_installed()
    if format == "onnx":
        on_onnx.check_installed()


def convert(
    model: keras.Model,
    data: Data,
    path: Path,
    format: str,
    *,
    quantize: str = "none",
    temperature: float = 1.0,
    max_drop: float = MAX_DROP,
    force: bool = False,
    original: keras.Model | None = None,
    metadata: dict | None = None,
) -> Converted:
    """Writes a model in another format, once it was run and found to be as good as the original on the test part.

    Args:
        model: A classifier made by `tlkeras.build`.
        data: What it was trained on: int8 takes the ranges of activations from the training part.
        path: The file. A description as JSON gets the same name with the suffix `.json`.
        format: `tflite`, `onnx` or `keras`.
        quantize: For `tflite`; see `tlkeras.export.lite.convert`.
        temperature: The logits are divided by it; a `.keras` file gives logits as they are.
        max_drop: Accuracy on the test part that may be lost.
        force: Write it even if more was lost.
        original: What it is measured against, where the model itself was already changed: pruned.
        metadata: Goes into the description.

    Raises:
        TooLossy: More accuracy was lost. Nothing is written, as after any other error.
        TlkerasError: The format cannot take the model, or computes something else.
    """
    check_fits(model, format, quantize)
    content, answer = _made(model, data, format, quantize, temperature)
    converted = _measured(model, original or model, data, path, content, answer, temperature)
    if quantize == "none" and not converted.difference <= TOLERANCE:
        raise TlkerasError(
            f"the {format} file answers differently from the model, by up to {converted.difference:.2g} (allowed: "
            f"{TOLERANCE:g}); nothing was written"
        )
    compare.check_drop(converted.forms, converted.count, max_drop, force)
    about = {"format": format, "quantize": quantize, "temperature": temperature} | (metadata or {})
    _write(path, content, _describe(model, content, converted) | about)
    return converted


def _write(path: Path, content: bytes, about: dict) -> None:
    """Writes the file and its description, both whole before one has its name; a file that is there has been described.

    What killed conversions left beside it is removed.
    """
    with written_aside(path) as aside, written_aside(path.with_suffix(".json")) as about_aside:
        remove_abandoned(path.parent)
        aside.write_bytes(content)
        about_aside.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _made(
    model: keras.Model, data: Data, format: str, quantize: str, temperature: float
) -> tuple[bytes, Callable[[int], Answer]]:
    """Gives the file, and what runs it on a number of threads."""
    if format == "tflite":
        content = lite.convert(model, quantize, images=lambda: _training_images(model, data), temperature=temperature)
        return content, lambda threads: compare.in_whole_pixels(lite.runner(content, threads))
    if format == "onnx":
        content = on_onnx.convert(model, temperature=temperature)
        return content, lambda threads: compare.in_whole_pixels(on_onnx.runner(content, threads))
    content = keras_file.convert(model)
    loaded = keras_file.load(content)
    if loaded.get_layer("logits").classes != model.get_layer("logits").classes:
        raise TlkerasError("the .keras file names other classes than the model; nothing was written")
    return content, lambda _: keras_file.runner(loaded, temperature)


def _training_images(model: keras.Model, data: Data) -> Iterator[np.ndarray]:
    paths = [example.path for example in lite.spread(data.parts["train"])]
    for batch in image_set(paths, model.input_shape[1:3], 1):
        yield np.rint(batch.numpy()).astype(np.uint8)


def _measured(
    model: keras.Model,
    original: keras.Model,
    data: Data,
    path: Path,
    content: bytes,
    answer: Callable[[int], Answer],
    temperature: float,
) -> Converted:
    examples, classes = data.parts["test"], model.get_layer("logits").classes
    image_size = None if takes_texts(model) else tuple(model.input_shape[1:3])
    changed = {"pruned": model} if original is not model else {}
    models = {"model": original, **changed}
    runners = [keras_file.runner(one, temperature) for one in models.values()]
    runners.append(answer(compare.THREADS))
    found = compare.answers(runners, examples, image_size)
    named = [probabilities.argmax(-1) for probabilities in found]
    labels = np.array([classes.index(example.label) for example in examples])
    one = next(iter(input_set(examples[:1], image_size, 1))).numpy()
    before, after = compare.seconds([runners[0], runners[-1]], one)
    # A .keras file is run by TensorFlow, whose threads were decided when it started.
    alone = compare.seconds([answer(1)], one)[0] if path.suffix != SUFFIXES["keras"] else None
    times = [(before, None), *[(None, None)] * len(changed), (after, alone)]
    contents = [*(keras_file.convert(one) for one in models.values()), content]
    forms = [
        Figures(name, *compare.size(file), float((best == labels).mean()), *pair)
        for name, file, best, pair in zip([*models, path.name], contents, named, times, strict=True)
    ]
    return Converted(
        path=path,
        count=len(examples),
        forms=forms,
        difference=compare.difference(runners[-2], runners[-1], examples, image_size),
        same_class=float((named[0] == named[-1]).mean()),
    )


def _describe(model: keras.Model, content: bytes, converted: Converted) -> dict:
    preprocess = model.get_layer("preprocess")
    return {
        "file": converted.path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "classes": model.get_layer("logits").classes,
        "image_size": None if takes_texts(model) else list(model.input_shape[1:3]),
        "card": preprocess.card,
        "recipe": preprocess.recipe,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"tlkeras": tlkeras.__version__, "keras": keras.__version__, "tensorflow": tf.__version__},
        "test_examples": converted.count,
        "max_difference": converted.difference,
        "same_class": converted.same_class,
        "threads": compare.THREADS,
        "forms": [dataclasses.asdict(form) for form in converted.forms],
    }
