"""Prediction: class names for image files, from a run, an export or a saved model alone."""

from __future__ import annotations

import dataclasses
import itertools
import json
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tlkeras.backbones import hub_places
from tlkeras.data.check import reason_against
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.export.savedmodel import MODEL_JSON
from tlkeras.export.serving import Serving
from tlkeras.versions import versions

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif"}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of one file: class names, best first, and their scores 0..1; or why it says nothing."""

    file: Path
    classes: list[str] = dataclasses.field(default_factory=list)
    scores: list[float] = dataclasses.field(default_factory=list)
    error: str | None = None

    def to_dict(self) -> dict:
        """The prediction in plain types that go into JSON as they are."""
        return {**dataclasses.asdict(self), "file": str(self.file)}


def predict(
    target: str | Path, files: Iterable[str | Path], top_k: int = 5, batch_size: int = 32
) -> Iterator[Prediction]:
    """Names the classes of image files; loads the model at once, and reads files as the predictions are taken.

    Args:
        target: A run folder, an export (one version, or the folder of the versions: the newest), or a `.keras` file.
        files: Image files, and folders that stand for the image files in them.
        top_k: Classes to name for each file; all of them where the model has fewer.
        batch_size: Files in memory at a time.

    Returns:
        One prediction for each file in the order of the files. A file that cannot be read or decoded has an `error`.

    Raises:
        TlkerasError: The target is nothing that predicts, a file does not exist, or there are no files.
    """
    if top_k < 1 or batch_size < 1:
        raise TlkerasError(f"top_k and batch_size are 1 or more. Received: {top_k} and {batch_size}")
    paths = _image_files(files)
    answer, classes = _load(Path(target))
    return _predictions(answer, np.array(classes), paths, top_k, batch_size)


def _predictions(answer, classes, paths, top_k, batch_size) -> Iterator[Prediction]:
    for start in range(0, len(paths), batch_size):
        batch = paths[start : start + batch_size]
        for path, probabilities in zip(batch, _probabilities(answer, batch), strict=True):
            if isinstance(probabilities, str):
                yield Prediction(path, error=probabilities)
            else:
                best = np.argsort(-probabilities, kind="stable")[:top_k]
                yield Prediction(path, classes[best].tolist(), probabilities[best].tolist())


def _probabilities(answer: Callable, paths: Sequence[Path]) -> list[np.ndarray | str]:
    """Gives for each file its probabilities, or the reason why there are none."""
    outcomes: list = [_read(path) for path in paths]
    readable = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, bytes)]
    for i, outcome in zip(readable, _answers(answer, [outcomes[i] for i in readable]), strict=True):
        outcomes[i] = outcome
    return outcomes


def _answers(answer: Callable, images: Sequence[bytes]) -> list[np.ndarray | str]:
    if not images:
        return []
    try:
        return list(answer(tf.constant(images)).numpy())
    except tf.errors.InvalidArgumentError as error:
        # One bad image fails its whole batch: find it by halving, so that the good ones are still answered together.
        if len(images) == 1:
            return [reason_against(images[0]) or in_one_line(error)]
        middle = len(images) // 2
        return _answers(answer, images[:middle]) + _answers(answer, images[middle:])


def _read(path: Path) -> bytes | str:
    try:
        return path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def _image_files(files: Iterable[str | Path]) -> list[Path]:
    paths = list(itertools.chain.from_iterable(_expand(Path(file)) for file in files))
    if not paths:
        raise TlkerasError("no files to predict: name image files, or folders of them")
    return paths


def _expand(path: Path) -> list[Path]:
    if not path.is_dir():
        if not path.exists():
            raise TlkerasError(f"there is no file {path}")
        return [path]
    found = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in _SUFFIXES and file.is_file())
    images = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not images:
        raise TlkerasError(f"no image files in {path}; they end in {', '.join(sorted(_SUFFIXES))}")
    return images


def _load(target: Path) -> tuple[Callable, list[str]]:
    """Finds what predicts at the target: a function from image bytes to probabilities, and the class names."""
    if target.suffix == ".keras" and target.is_file():
        return _load_keras(target)
    if (target / "saved_model.pb").is_file():
        return _load_export(target)
    if numbered := versions(target):
        return _load_export(numbered[-1])
    if (target / "model.keras").is_file():
        return _load_keras(target / "model.keras")
    state = "has neither model.keras nor saved_model.pb" if target.is_dir() else "does not exist or is none of these"
    raise TlkerasError(f"nothing to predict with: give a run folder, an export or a .keras file. {target} {state}")


def _load_keras(path: Path) -> tuple[Callable, list[str]]:
    try:
        with hub_places.modules_in(path.parent):
            model = keras.saving.load_model(path, compile=False)
        classes, serving = model.get_layer("logits").classes, Serving(model)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise TlkerasError(f"{path} is not a model of tlkeras, or it is damaged: {in_one_line(error)}") from error
    return (lambda images: serving.probabilities(images)["probabilities"]), classes


def _load_export(path: Path) -> tuple[Callable, list[str]]:
    try:
        classes = json.loads((path / MODEL_JSON).read_text("utf-8"))["classes"]
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["probabilities"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise TlkerasError(f"{path} is not an export of tlkeras, or it is damaged: {in_one_line(error)}") from error
    # The variables live as long as what was loaded, and a signature alone does not hold it.
    return (lambda images, keep=loaded: signature(image_bytes=images)["probabilities"]), classes
