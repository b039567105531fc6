"""Prediction: class names for image files or texts, from a run, an export or a saved model alone."""

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
from tlkeras.backbones.text import needs
from tlkeras.data import texts as texts_room
from tlkeras.data.check import reason_against
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.export.savedmodel import MODEL_JSON
from tlkeras.export.serving import Serving
from tlkeras.files import read_regular
from tlkeras.versions import versions

_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif"}


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of one file or text: class names, best first, and their scores 0..1; or why it says nothing.

    Of `file` and `text` one is given: where it was read from, or the text itself.
    """

    file: Path | None
    classes: list[str] = dataclasses.field(default_factory=list)
    scores: list[float] = dataclasses.field(default_factory=list)
    error: str | None = None
    text: str | None = None

    def to_dict(self) -> dict:
        """The prediction in plain types that go into JSON as they are."""
        asked = {"file": str(self.file)} if self.file else {"text": self.text}
        return {**asked, "classes": self.classes, "scores": self.scores, "error": self.error}


def predict(
    target: str | Path,
    files: Iterable[str | Path] = (),
    top_k: int = 5,
    batch_size: int = 32,
    *,
    texts: Iterable[str] = (),
) -> Iterator[Prediction]:
    """Names the classes of files or texts; loads the model at once, and reads files as the predictions are taken.

    Args:
        target: A run folder, an export (one version, or the folder of the versions: the newest), or a `.keras` file.
        files: Image files, and folders that stand for the image files in them; for a model of texts .txt files, one
            text each, likewise.
        top_k: Classes to name for each; all of them where the model has fewer.
        batch_size: Files in memory at a time.
        texts: Texts themselves, for a model of texts.

    Returns:
        One prediction for each file in the order of the files, and then for each text. A file that cannot be read or
        decoded has an `error`.

    Raises:
        TlkerasError: The target is nothing that predicts, a file does not exist, there is nothing to predict, or there
            are texts for a model of images.
    """
    if top_k < 1 or batch_size < 1:
        raise TlkerasError(f"top_k and batch_size are 1 or more. Received: {top_k} and {batch_size}")
    files, texts = [Path(file) for file in files], list(texts)
    for file in files:
        if not file.exists():
            raise TlkerasError(f"there is no file {file}{'; a text is given with --text' if ' ' in str(file) else ''}")
    answerer = _load(Path(target))
    if texts and not answerer.is_text:
        raise TlkerasError(f"{target} takes images, and a text was given: name image files")
    asked = [*itertools.chain.from_iterable(_expand(file, answerer.is_text) for file in files), *texts]
    if not asked:
        what = ".txt files, or texts with --text" if answerer.is_text else "image files, or folders of them"
        raise TlkerasError(f"no files to predict: name {what}")
    return _predictions(answerer, asked, top_k, batch_size)


@dataclasses.dataclass(frozen=True)
class _Answerer:
    """What predicts: a function from strings (of image files, or texts) to probabilities, and the class names."""

    answer: Callable[[tf.Tensor], tf.Tensor]
    classes: list[str]
    is_text: bool


def _predictions(answerer: _Answerer, asked: Sequence[Path | str], top_k, batch_size) -> Iterator[Prediction]:
    classes = np.array(answerer.classes)
    for start in range(0, len(asked), batch_size):
        batch = asked[start : start + batch_size]
        for one, outcome in zip(batch, _probabilities(answerer, batch), strict=True):
            named = {"file": one} if isinstance(one, Path) else {"file": None, "text": one}
            if isinstance(outcome, str):
                yield Prediction(**named, error=outcome)
            else:
                best = np.argsort(-outcome, kind="stable")[:top_k]
                yield Prediction(**named, classes=classes[best].tolist(), scores=outcome[best].tolist())


def _probabilities(answerer: _Answerer, asked: Sequence[Path | str]) -> list[np.ndarray | str]:
    """Gives for each file or text its probabilities, or the reason why there are none."""
    outcomes: list = [_read(one, answerer.is_text) for one in asked]
    readable = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, bytes)]
    for i, outcome in zip(readable, _answers(answerer, [outcomes[i] for i in readable]), strict=True):
        outcomes[i] = outcome
    return outcomes


def _answers(answerer: _Answerer, strings: Sequence[bytes]) -> list[np.ndarray | str]:
    if not strings:
        return []
    try:
        return list(answerer.answer(tf.constant(strings)).numpy())
    except tf.errors.InvalidArgumentError as error:
        # One bad image fails its whole batch: find it by halving, so that the good ones are still answered together.
        if len(strings) == 1:
            return [("" if answerer.is_text else reason_against(strings[0])) or in_one_line(error)]
        middle = len(strings) // 2
        return _answers(answerer, strings[:middle]) + _answers(answerer, strings[middle:])


def _read(one: Path | str, is_text: bool) -> bytes | str:
    """Gives the bytes that the model takes, or the reason why there are none."""
    try:
        if not is_text:
            return read_regular(one)
        content = texts_room.read(one) if isinstance(one, Path) else one.encode("utf-8", "surrogateescape")
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return texts_room.reason_against(content) or texts_room.decode(content).encode()


def _expand(path: Path, is_text: bool) -> list[Path]:
    if not path.is_dir():
        return [path]
    suffixes, what = ({".txt"}, "text") if is_text else (_SUFFIXES, "image")
    found = (file for file in sorted(path.rglob("*")) if file.suffix.lower() in suffixes and file.is_file())
    files = [file for file in found if not any(part.startswith(".") for part in file.relative_to(path).parts)]
    if not files:
        raise TlkerasError(f"no {what} files in {path}; they end in {', '.join(sorted(suffixes))}")
    return files


def _load(target: Path) -> _Answerer:
    """Finds what predicts at the target."""
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


def _load_keras(path: Path) -> _Answerer:
    try:
        with hub_places.modules_in(path.parent):
            model = keras.saving.load_model(path, compile=False)
        classes, serving = model.get_layer("logits").classes, Serving(model)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        raise TlkerasError(f"{path} is not a model of tlkeras, or it is damaged: {in_one_line(error)}") from error
    return _Answerer(lambda s: serving.answer(s, "probabilities")["probabilities"], classes, serving.takes == "text")


def _load_export(path: Path) -> _Answerer:
    try:
        about = json.loads((path / MODEL_JSON).read_text("utf-8"))
        classes, is_text = about["classes"], about["card"].get("task") == "text"
        # What a file asks for is not imported but where it is known.
        if "tensorflow_text" in about.get("needs", []):
            needs("tensorflow_text")
        loaded = tf.saved_model.load(str(path))
        signature = loaded.signatures["probabilities"]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        raise TlkerasError(f"{path} is not an export of tlkeras, or it is damaged: {in_one_line(error)}") from error
    takes = "text" if is_text else "image_bytes"
    # The variables live as long as what was loaded, and a signature alone does not hold it.
    return _Answerer(lambda strings, keep=loaded: signature(**{takes: strings})["probabilities"], classes, is_text)
