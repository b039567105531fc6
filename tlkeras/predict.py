"""Prediction: class names for image files or texts, from a run, an export or a saved model alone."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tlkeras import asked
from tlkeras.backbones import hub_places
from tlkeras.backbones.text import needs
from tlkeras.data.check import reason_against
from tlkeras.errors import TlkerasError, in_one_line, mistake_in
from tlkeras.export import contract, python_runtime
from tlkeras.export.serving import TOP_K, Serving
from tlkeras.files import check_name
from tlkeras.predictions import Answer, Predictions, Refused
from tlkeras.versions import versions

# What is read and waits in memory is a few times as much.
_MOST_BYTES = 2**25

# A name of a signature, and the strings; gives its outputs.
_Ask = Callable[[str, Sequence[bytes]], dict[str, np.ndarray]]


def predict(
    target: str | Path,
    files: Iterable[str | Path] = (),
    top_k: int = 5,
    batch_size: int = 32,
    *,
    texts: Iterable[str] = (),
    lines: Iterable[bytes] = (),
) -> Predictions:
    """Names the classes of files or texts; loads the model at once, and finds and reads files as they are answered.

    Memory does not grow with the number of files: nothing is listed whole. The files of a folder come in the order of
    their names, those of one with more than 10,000 entries in the order of the file system.

    Args:
        target: A run folder, an export (one version, or the folder of the versions: the newest), or a `.keras` file.
        files: Image files; folders that stand for the image files in them; patterns with `*`, `?`, `[…]` and `**`; and
            `-` for `lines`. For a model of texts .txt files, one text each, likewise.
        top_k: Classes to name for each; all of them where the model has fewer.
        batch_size: Files in a request.
        texts: Texts themselves, for a model of texts.
        lines: Names of files; for a model of texts, texts.

    Returns:
        One prediction for each file in the order of the files, and then for each text. A file that cannot be read or
        decoded has an `error`, and so has one of `lines` that does not exist.

    Raises:
        TlkerasError: The target is nothing that predicts, a file does not exist, there is nothing to predict, or there
            are texts for a model of images.
    """
    if top_k < 1 or batch_size < 1:
        raise TlkerasError(f"top_k and batch_size are 1 or more. Received: {top_k} and {batch_size}")
    files = list(files)
    asked.refuse_missing(files)
    local = _load(Path(target), top_k)
    return Predictions(local, asked.find(files, local.is_text, lines, texts), batch_size)


class _Local:
    """A model in this process.

    Where it names fewer classes than are wanted, it is asked for all probabilities instead; one that tells what is
    unknown is then asked for both, which takes twice the time.

    Args:
        ask: Asks the model.
        classes: Its class names.
        is_text: It takes texts.
        top_k: Classes that are wanted.
        named: Classes that `serving_default` names.
        has_unknown: `serving_default` gives `is_unknown`.
    """

    most_bytes, may_be_left = _MOST_BYTES, False

    def __init__(self, ask: _Ask, classes: Sequence[str], is_text: bool, top_k: int, *, named=0, has_unknown=False):
        self._ask, self._classes, self.is_text = ask, np.array(classes), is_text
        self.top_k, self.has_unknown = min(top_k, len(classes)), has_unknown
        self._names_enough = named >= self.top_k

    def answer(self, strings: Sequence[bytes]) -> list[Answer]:
        try:
            return self._answers(strings)
        except tf.errors.InvalidArgumentError as error:
            raise Refused(in_one_line(error)) from error

    def _answers(self, strings: Sequence[bytes]) -> list[Answer]:
        told = self._ask("serving_default", strings) if self._names_enough or self.has_unknown else {}
        if self._names_enough:
            classes, scores = (told[name][:, : self.top_k] for name in ("classes", "scores"))
            classes = [[name.decode() for name in row] for row in classes]
        else:
            probabilities = self._ask("probabilities", strings)["probabilities"]
            best = np.argsort(-probabilities, axis=-1, kind="stable")[:, : self.top_k]
            classes, scores = self._classes[best].tolist(), np.take_along_axis(probabilities, best, -1)
            if not scores.any(-1).all():
                # Zeros are of what was not decoded, and do not say why.
                told = told or self._ask("serving_default", strings)
        errors = [error.decode() for error in told.get("error", [b""] * len(strings))]
        unknown = told["is_unknown"].tolist() if self.has_unknown else [None] * len(strings)
        return list(map(Answer, classes, scores.tolist(), errors, unknown))

    def reason(self, content: bytes, told: str) -> str:
        """Words why a string has no answer as the check of training data does, which knows more than a graph says.

        How large a picture may be is for the graph to say, and one that is too large is not looked at.
        """
        return told if self.is_text or " pixels, more than " in told else reason_against(content) or told


def _load(target: Path, top_k: int) -> _Local:
    """Finds what predicts at the target."""
    check_name(target)
    if target.suffix == ".keras" and target.is_file():
        return _load_keras(target, top_k)
    if (target / "saved_model.pb").is_file():
        return _load_export(target, top_k)
    if numbered := versions(target):
        return _load_export(numbered[-1], top_k)
    if (target / "model.keras").is_file():
        return _load_keras(target / "model.keras", top_k)
    state = "has neither model.keras nor saved_model.pb" if target.is_dir() else "does not exist or is none of these"
    raise TlkerasError(f"nothing to predict with: give a run folder, an export or a .keras file. {target} {state}")


def _load_keras(path: Path, top_k: int) -> _Local:
    try:
        with hub_places.modules_in(path.parent):
            model = keras.saving.load_model(path, compile=False)
        classes, serving = model.get_layer("logits").classes, Serving(model)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if mistake := mistake_in(error):
            raise mistake from None
        raise TlkerasError(f"{path} is not a model of tlkeras, or it is damaged: {in_one_line(error)}") from error

    def ask(signature, strings):
        return serving.answer(strings, signature)

    return _Local(ask, classes, serving.takes == "text", top_k, named=min(TOP_K, len(classes)))


def _load_export(path: Path, top_k: int) -> _Local:
    damaged = f"{path} is not an export of tlkeras, or it is damaged"
    try:
        about = contract.read_about(path)
        contract.check_labels(path, about)
    except TlkerasError as error:
        raise TlkerasError(f"{damaged}: {error}") from error
    for module in about.needs:
        needs(module)
    try:
        loaded = python_runtime.load(path)
        signatures = {name: loaded.signatures[name] for name in ("serving_default", "probabilities")}
        outputs = signatures["serving_default"].structured_outputs
        named = outputs["scores"].shape[1] or 0
    except (TlkerasError, KeyError) as error:
        raise TlkerasError(f"{damaged}: {in_one_line(error)}") from error

    # The variables live as long as what was loaded, and a signature alone does not hold it.
    def ask(signature, strings, keep=loaded):
        answer = signatures[signature](**{about.takes: tf.constant(strings)})
        return {name: value.numpy() for name, value in answer.items()}

    return _Local(ask, about.classes, about.is_text, top_k, named=named, has_unknown="is_unknown" in outputs)
