"""The model of a run as one file of another format, or pruned: measured on its test part before it counts."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import keras
import numpy as np
from rich.console import Console

from tlkeras import consoles
from tlkeras.backbones import hub_places
from tlkeras.backbones.text import takes_texts
from tlkeras.data.check import still_readable
from tlkeras.data.dataset import PARTS, Data
from tlkeras.engine.train import make_deterministic
from tlkeras.export import compare, formats, keras_file
from tlkeras.export import sparsity as pruning
from tlkeras.export.compare import MAX_DROP, Figures
from tlkeras.export.formats import Converted
from tlkeras.records import recorded
from tlkeras.run import Run


@dataclasses.dataclass(frozen=True)
class Pruned:
    """A pruned model, and what it cost.

    Attributes:
        model: The model, in float32.
        forms: Figures of the original and of the pruned model.
        zeros: Share of zeros among the weights of the kernels that are pruned, and among all weights.
    """

    model: keras.Model
    forms: list[Figures]
    zeros: tuple[float, float]


def convert(
    run: Run,
    format: str,
    *,
    quantize: str = "none",
    sparsity: float = 0.0,
    temperature: float = 1.0,
    max_drop: float = MAX_DROP,
    force: bool = False,
    console: Console | None = None,
) -> Converted:
    """Writes the model of a run as `RUN/export-FORMAT/model….FORMAT`, checked on the run's test part.

    Args:
        run: A trained run; its own files stay as they are.
        format: `tflite`, `onnx` or `keras`.
        quantize: For `tflite`: `none`, `float16`, `dynamic` or `int8`.
        sparsity: Share of the weights to prune first, 0 to below 1; see `tlkeras.export.sparsity.prune`.
        temperature: The logits are divided by it.
        max_drop: Accuracy on the test part that all of it may cost.
        force: Write it even if it costs more.
        console: Where progress is shown; standard output where not given.

    Raises:
        TooLossy: More accuracy was lost. Nothing is written, as after any other error.
        TlkerasError: The format cannot take the model, or what it needs is not installed.
    """
    formats.check_fits(run.model, format, quantize)
    path = file_of(run.folder.path, format, quantize, sparsity)
    learnt = ("train", "val") if sparsity else ("train",) if quantize == "int8" else ()
    data = _data(run, "test", *learnt)
    with still_readable(_files(data), data.root), hub_places.modules_in(run.folder.path):
        model = _pruned(run, data, sparsity, console or consoles.make()) if sparsity else run.model
        return formats.convert(
            model,
            data,
            path,
            format,
            quantize=quantize,
            temperature=temperature,
            max_drop=max_drop,
            force=force,
            original=run.model,
            metadata=_about(model, sparsity),
        )


def prune(
    run: Run, sparsity: float, *, max_drop: float = MAX_DROP, force: bool = False, console: Console | None = None
) -> Pruned:
    """Prunes the model of a run and measures it on the run's test part; the run stays as it is.

    Args:
        run: A trained run.
        sparsity: Share of the weights, above 0 and below 1; see `tlkeras.export.sparsity.prune`.
        max_drop: Accuracy on the test part that it may cost.
        force: Take it even if it costs more.
        console: Where progress is shown; standard output where not given.

    Raises:
        TooLossy: More accuracy was lost.
        TlkerasError: The sparsity is not legal, or there is nothing to prune.
    """
    data = _data(run, *PARTS)
    with still_readable(_files(data), data.root), hub_places.modules_in(run.folder.path):
        model = _pruned(run, data, sparsity, console or consoles.make())
        models, examples = {"model": run.model, "pruned": model}, data.parts["test"]
        size = None if takes_texts(model) else tuple(model.input_shape[1:3])
        found = compare.answers([keras_file.runner(one) for one in models.values()], examples, size)
        labels = np.array([data.classes.index(example.label) for example in examples])
        forms = [
            Figures(name, *compare.size(keras_file.convert(one)), float((answers.argmax(-1) == labels).mean()))
            for (name, one), answers in zip(models.items(), found, strict=True)
        ]
    compare.check_drop(forms, len(examples), max_drop, force)
    return Pruned(model, forms, pruning.zeros(model))


def _pruned(run: Run, data: Data, share: float, console: Console) -> keras.Model:
    spec = run.spec

    def show(epoch, figures):
        console.print(
            f"pruning, epoch {epoch}/{pruning.EPOCHS}: loss {figures['loss']:.4f}, validation loss "
            f"{figures['val_loss']:.4f}, validation accuracy {figures['val_accuracy']:.4f}"
        )

    # A model that is loaded takes seeds.
    trained = run.model
    make_deterministic(spec.seed)
    options = {"batch_size": spec.batch_size, "augment": spec.augment, "seed": spec.seed}
    model = pruning.prune(trained, data, share, **options, on_epoch=show)
    kernels, every = pruning.zeros(model)
    console.print(f"zeros: {kernels:.1%} of the pruned kernels, {every:.1%} of all weights; they pay once compressed")
    return model


def _about(model: keras.Model, sparsity: float) -> dict:
    if not sparsity:
        return {"sparsity": None}
    kernels, every = pruning.zeros(model)
    return {"sparsity": {"asked": sparsity, "zeros_in_pruned_kernels": kernels, "zeros_in_all_weights": every}}


def _data(run: Run, *parts: str) -> Data:
    return recorded(run.folder, run.spec, parts)


def _files(data: Data) -> list[Path]:
    return [example.path for part in data.parts.values() for example in part if example.text is None]


def file_of(folder: Path, format: str, quantize: str = "none", sparsity: float = 0.0) -> Path:
    """Names the file of a conversion in a run folder.

    >>> file_of(Path("runs/a"), "tflite", "int8", 0.5).as_posix()
    'runs/a/export-tflite/model-int8-sparse50.tflite'
    """
    marks = [quantize] if quantize != "none" else []
    marks += [f"sparse{100 * sparsity:g}".replace(".", "_")] if sparsity else []
    return folder / f"export-{format}" / f"{'-'.join(['model', *marks])}{formats.SUFFIXES[format]}"
