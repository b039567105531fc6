"""The proof of an export: it is loaded again, and answers as the model does on the training side."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tlkeras.backbones.text import takes_texts
from tlkeras.data.images import decode_and_resize
from tlkeras.errors import TlkerasError
from tlkeras.export.messages import predict_log
from tlkeras.export.python_runtime import PythonRuntime
from tlkeras.metrics import softmax
from tlkeras.precision import in_float32

TOLERANCE = 1e-4
_BATCH = 32


class ParityError(TlkerasError):
    """An export that answers differently from the model it was made of. Nothing is wrong with what the user gave."""

    exit_code = 1


class Refused(TlkerasError):
    """An export that has no answer where its model has one, as for what has more than `max_pixels`."""


@dataclasses.dataclass(frozen=True)
class Parity:
    """How an export compares with its model.

    `max_difference` is the largest difference of any probability or score on `count` inputs; `classes_equal` says
    whether the named classes are the model's best, in its order, but for classes whose scores tie within the tolerance.
    """

    count: int
    max_difference: float
    classes_equal: bool


def check(
    export: Path,
    model: keras.Model,
    inputs: Sequence[Path | str],
    temperature: float = 1.0,
    tolerance: float = TOLERANCE,
    loaded: PythonRuntime | None = None,
    logits: np.ndarray | None = None,
) -> Parity:
    """Loads an export and compares its answers on image files or texts with those of `model.predict` in float32.

    The model sees the images through the decoding of training and evaluation; the export gets the bytes of the files.
    The first is asked for alone, the others in batches; texts with an empty text among them.

    Args:
        export: Folder of the SavedModel.
        model: The model that it was made of.
        inputs: Image files that can be decoded, or texts; one or more.
        temperature: What the export divides the logits by.
        tolerance: Largest difference of a probability that passes.
        loaded: The export, where it is loaded already.
        logits: What `logits_of` the model says of the inputs, where that is known already.

    Raises:
        ParityError: The answers differ by more than the tolerance, are no numbers, or name other classes.
        Refused: The export says of an input why it has no answer.
        TlkerasError: A file cannot be read or decoded.
    """
    is_text = takes_texts(model)
    strings = read(inputs, is_text)
    runtime = loaded or PythonRuntime(export)
    logits = logits_of(model, strings) if logits is None else logits
    expected = softmax(logits / np.float32(temperature))
    # One alone, and then batches.
    batches = [strings[:1], *(strings[i : i + _BATCH] for i in range(1, len(strings), _BATCH))]
    served = [_answers(runtime, batch, "text" if is_text else "image_bytes") for batch in batches]
    probabilities, names, scores, errors = (np.concatenate(parts) for parts in zip(*served, strict=True))
    if errors.astype(bool).any():
        refused = int(np.argmax(errors.astype(bool)))
        raise Refused(f"the export does not answer {inputs[refused]}: {errors[refused].decode()}")

    ranked = np.sort(expected, axis=-1)[:, ::-1][:, : scores.shape[1]]
    difference = max(np.abs(probabilities - expected).max(), np.abs(scores - ranked).max())
    index = {name: i for i, name in enumerate(model.get_layer("logits").classes)}
    named = np.array([[index.get(name.decode(), -1) for name in row] for row in names])
    named_scores = np.take_along_axis(expected, np.maximum(named, 0), axis=-1)
    classes_equal = bool((named >= 0).all() and (np.abs(named_scores - ranked) <= tolerance).all())
    # Put so that NaN does not pass.
    if not (difference <= tolerance and classes_equal):
        what = f"by up to {difference:.2g}" if classes_equal else "in the classes that it names"
        raise ParityError(
            f"the export differs from the model {what} on {len(strings)} {'texts' if is_text else 'images'} (allowed: "
            f"{tolerance:g}); it is not fit to serve"
        )
    return Parity(len(inputs), float(difference), classes_equal)


def read(inputs: Sequence[Path | str], is_text: bool = False) -> list[bytes]:
    """Reads the files to check with; texts are there already, and get an empty one beside them.

    Raises:
        TlkerasError: There are none, or one cannot be read.
    """
    if not inputs:
        raise TlkerasError("an export is checked before it counts; give one file or more, or texts, to check it with")
    if is_text:
        return [text.encode() for text in (*inputs, "")]
    try:
        return [Path(file).read_bytes() for file in inputs]
    except OSError as error:
        raise TlkerasError(f"cannot read {error.filename} to check the export with: {error.strerror}") from error


def logits_of(model: keras.Model, strings: Sequence[bytes]) -> np.ndarray:
    """Gives what the model itself says, in float32, of the bytes of image files or of texts: `(count, classes)`.

    Raises:
        TlkerasError: An image cannot be decoded.
    """
    return asker_of(model)(strings)[1]


def asker_of(model: keras.Model) -> Callable[[Sequence[bytes]], tuple[np.ndarray, np.ndarray]]:
    """Gives what asks the model itself, in float32, more than once.

    Returns:
        A function of the bytes of image files or of texts, which gives what the last layer of the model sees, `(count,
        channels)`, and what it says, `(count, classes)`. It raises TlkerasError where an image cannot be decoded.
    """
    model = in_float32(model)
    both = keras.Model(model.inputs, [model.get_layer("dropout").input, *model.outputs])
    # For some dozens of inputs, to compile it with XLA would take longer than all else.
    both.jit_compile = False

    def ask(strings: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
        with _worded():
            features, logits = both.predict(_inputs_of(model, strings), verbose=0)
        return features, logits

    return ask


def _inputs_of(model: keras.Model, strings: Sequence[bytes]) -> tf.data.Dataset:
    inputs = tf.data.Dataset.from_tensor_slices(tf.constant(strings, tf.string))
    if not takes_texts(model):
        inputs = inputs.map(functools.partial(decode_and_resize, image_size=model.input_shape[1:3]))
    return inputs.batch(_BATCH)


@contextlib.contextmanager
def _worded() -> Iterator[None]:
    try:
        yield
    except tf.errors.InvalidArgumentError as error:
        raise TlkerasError("an image to check the export with cannot be decoded; give only good ones") from error


def _answers(runtime: PythonRuntime, strings: Sequence[bytes], name: str) -> tuple[np.ndarray, ...]:
    answer = runtime.ask(predict_log("serving_default", {name: strings}))
    probabilities = runtime.ask(predict_log("probabilities", {name: strings}))["probabilities"]
    errors = answer.get("error", np.full(len(strings), b"", object))
    return probabilities, answer["classes"], answer["scores"], errors
