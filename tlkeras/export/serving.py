"""A model as it is served: bytes of image files or texts in, class names and scores out, computed in float32."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tlkeras.backbones.hub_module import HubModule
from tlkeras.backbones.text import takes_texts
from tlkeras.data import untrusted
from tlkeras.data.check import MAX_PIXELS, MOST_PIXELS
from tlkeras.data.images import ENOUGH, resize
from tlkeras.errors import TlkerasError
from tlkeras.export.contract import TEMPERATURE, THRESHOLD
from tlkeras.features.engines.graphs import computation_with_variables
from tlkeras.precision import in_float32
from tlkeras.unknown import Threshold

TOP_K = 5
CLASSIFY = "classify"
# Pictures of a batch that are decoded at a time: with `max_pixels`, what bounds the memory that a request takes.
AT_A_TIME = 4
# Rows that the model computes at a time: a request of many takes longer, and no more memory.
_PART = 32


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a model is served.

    Args:
        max_pixels: The most pixels that a picture may have; a larger one is not decoded.
        temperature: What logits are divided by, above 0. Guo et al., "On Calibration of Modern Neural Networks", 2017.
        unknown: Below which score an input counts as none of the classes; None where that is not told.

    Raises:
        TlkerasError: `max_pixels` is no number of pixels that a header can announce.
    """

    max_pixels: int = MAX_PIXELS
    temperature: float = 1.0
    unknown: Threshold | None = None

    def __post_init__(self):
        if not 1 <= self.max_pixels <= MOST_PIXELS:
            legal = f"max_pixels is a number of pixels, 1 to {MOST_PIXELS:,}"
            raise TlkerasError(f"{legal}. Received: {self.max_pixels:,}")


class Serving:
    """The functions that an export answers with.

    `serving_default`, `probabilities` and `features` take strings of shape `(batch,)`: whole image files by the name of
    `image_bytes`, or texts by that of `text`. `serving_default` gives `classes` (strings) and `scores` (float32), both
    `(batch, min(5, number of classes))`, best first; `probabilities` gives `probabilities`, float32 `(batch, number of
    classes)`; `features` gives `features`, the float32 pooled embedding `(batch, channels)` that the last layer sees.
    `classify` takes `inputs`, serialised `tf.Example`s with a feature of the same name as above, and gives `classes`
    and `scores`. Models of images have `pixels`, which takes uint8 RGB `(batch, height, width, 3)`, too.

    An image that cannot be decoded leaves those beside it alone: it has no class names, and zeros for all numbers.
    `serving_default` says in `error`, strings `(batch,)`, what is wrong with it. With `Settings.unknown`,
    `serving_default` and `pixels` also give `is_unknown`, bool `(batch,)`.

    Args:
        model: Ends in a dropout layer `dropout` and a `ClassLogits` layer `logits`; its input says the image size.
        settings: How it is served.
    """

    def __init__(self, model: keras.Model, settings: Settings | None = None):
        self._settings = settings or Settings()
        self.takes = "text" if takes_texts(model) else "image_bytes"
        model = in_float32(model)
        self._classes = model.get_layer("logits").classes
        both = keras.Model(model.inputs, [model.get_layer("dropout").input, model.output])
        self._compute, self._variables = computation_with_variables(both)
        modules = [layer.saved for layer in model.layers if isinstance(layer, HubModule)]
        self._resources = [resource for module in modules for resource in module.resources()]
        strings = tf.TensorSpec([None], tf.string, name=self.takes)
        self._size = () if self.takes == "text" else tuple(model.input_shape[1:3])
        self._channels = both.output_shape[0][-1]
        # Traced once for all signatures.
        self._run = _traced(lambda strings: self._in_parts(strings, self._read), strings)
        self._functions = {
            "serving_default": _traced(self._serving_default, strings),
            "probabilities": _traced(self._probabilities, strings),
            "features": _traced(self._features, strings),
            CLASSIFY: _traced(self._classify, tf.TensorSpec([None], tf.string, name="inputs")),
        }
        if self.takes == "image_bytes":
            pixels = tf.TensorSpec([None, None, None, 3], tf.uint8, name="pixels")
            self._functions["pixels"] = _traced(self._pixels, pixels)

    def answer(self, strings: Sequence[bytes], signature: str = "serving_default") -> dict[str, np.ndarray]:
        """Answers as the export does: for image files or texts, all outputs of a signature that takes strings."""
        found = self._functions[signature](tf.constant(strings, tf.string))
        return {name: value.numpy() for name, value in found.items()}

    def save(self, folder: Path) -> None:
        """Writes a SavedModel with the functions as its signatures, and the class names as `assets/labels.txt`.

        Raises:
            OSError, tf.errors.OpError: The folder cannot be written.
        """
        saved = tf.Module(name="serving")
        # Tracked as they are; the model itself would bring functions of its own into a SavedModel.
        saved.weights, saved.resources = self._variables, self._resources
        signatures = {name: function.get_concrete_function() for name, function in self._functions.items()}
        with tempfile.TemporaryDirectory() as scratch:
            labels = Path(scratch, "labels.txt")
            labels.write_text("".join(f"{' '.join(name.splitlines())}\n" for name in self._classes), encoding="utf-8")
            saved.labels = tf.saved_model.Asset(str(labels))
            tf.saved_model.save(saved, str(folder), signatures)
        # TensorFlow 2 calls all signatures predictions; TensorFlow Serving's Classify takes no such one.
        methods = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
        methods.replace_method_name(CLASSIFY, tf.compat.v1.saved_model.CLASSIFY_METHOD_NAME)
        methods.save()

    def _serving_default(self, strings):
        _, logits, errors = self._run(strings)
        answer = self._best(logits, errors)
        return answer if self.takes == "text" else {**answer, "error": errors}

    def _probabilities(self, strings):
        _, logits, errors = self._run(strings)
        return {"probabilities": _where(errors == "", self._probabilities_of(logits))}

    def _features(self, strings):
        features, _, errors = self._run(strings)
        return {"features": _where(errors == "", features)}

    def _classify(self, examples):
        # An example that lacks the feature has an empty one.
        feature = tf.io.FixedLenFeature([], tf.string, default_value="")
        _, logits, errors = self._run(tf.io.parse_example(examples, {self.takes: feature})[self.takes])
        answer = self._best(logits, errors)
        return {name: answer[name] for name in ("classes", "scores")}

    def _pixels(self, pixels):
        _, logits, errors = self._in_parts(pixels, self._fit)
        return self._best(logits, errors)

    def _fit(self, pixels) -> tuple[tf.Tensor, tf.Tensor]:
        """Turns pixels `(batch, height, width, 3)` into the model's inputs; nothing is wrong with any."""
        spec = tf.TensorSpec([*self._size, 3], tf.float32)
        inputs = tf.map_fn(lambda one: resize(one, self._size), pixels, fn_output_signature=spec)
        return inputs, tf.fill([tf.shape(pixels)[0]], "")

    def _read(self, strings) -> tuple[tf.Tensor, tf.Tensor]:
        """Turns strings `(batch,)` into the model's inputs, and says what is wrong with each."""
        if self.takes == "text":
            return strings, tf.zeros_like(strings)
        size = self._size

        def read(one):
            image, error = untrusted.decode(one, ENOUGH * max(size), self._settings.max_pixels)
            return tf.cond(error == "", lambda: resize(image, size), lambda: tf.zeros([*size, 3])), error

        specs = (tf.TensorSpec([*size, 3], tf.float32), tf.TensorSpec([], tf.string))
        return tf.map_fn(read, strings, fn_output_signature=specs, parallel_iterations=AT_A_TIME)

    def _in_parts(self, given, read) -> list[tf.Tensor]:
        """Gives features, logits and errors of rows, or of none, a part at a time, so that memory is bounded."""
        count = tf.shape(given)[0]
        blank = tf.constant([""]) if self.takes == "text" else tf.zeros([1, *self._size, 3])

        def compute(part):
            inputs, errors = read(part)
            # A blank input stands in for none: convolutions and sums on the CPU mistake the shape of an empty batch.
            features, logits = self._compute(tf.cond(count > 0, lambda: inputs, lambda: blank))
            return features[: tf.shape(part)[0]], logits[: tf.shape(part)[0]], errors

        def step(number, *results):
            part = compute(given[number * _PART : (number + 1) * _PART])
            return (number + 1, *(result.write(number, one) for result, one in zip(results, part, strict=True)))

        parts = tf.maximum((count + _PART - 1) // _PART, 1)
        kinds = ((tf.float32, (None, self._channels)), (tf.float32, (None, len(self._classes))), (tf.string, (None,)))
        results = [tf.TensorArray(dtype, parts, infer_shape=False, element_shape=shape) for dtype, shape in kinds]
        _, *results = tf.while_loop(lambda number, *_: number < parts, step, (0, *results), parallel_iterations=1)
        return [result.concat() for result in results]

    def _probabilities_of(self, logits):
        return tf.nn.softmax(logits / tf.constant(self._settings.temperature, tf.float32, name=TEMPERATURE))

    def _best(self, logits, errors):
        probabilities = self._probabilities_of(logits)
        scores, best = tf.math.top_k(probabilities, min(TOP_K, len(self._classes)))
        good = errors == ""
        names = tf.gather(tf.constant(self._classes), best)
        answer = {"classes": tf.where(good[:, tf.newaxis], names, ""), "scores": _where(good, scores)}
        if unknown := self._settings.unknown:
            score = tf.reduce_logsumexp(logits, -1) if unknown.score == "energy" else tf.reduce_max(probabilities, -1)
            threshold = tf.constant(unknown.threshold, tf.float32, name=THRESHOLD)
            answer["is_unknown"] = ~good | (score < threshold)
        return answer


def _traced(function: Callable, spec: tf.TensorSpec) -> tf.types.experimental.PolymorphicFunction:
    return tf.function(function, input_signature=[spec], autograph=False)


def _where(good: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    return tf.where(good[:, tf.newaxis], rows, tf.zeros_like(rows))
