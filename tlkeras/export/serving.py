"""A model as it is served: bytes of image files or texts in, class names and scores out, computed in float32."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from tlkeras.backbones.hub_module import HubModule
from tlkeras.backbones.text import takes_texts
from tlkeras.data.images import decode_and_resize
from tlkeras.precision import in_float32

TOP_K = 5


class Serving(tf.Module):
    """The three functions that an export answers with; each takes strings of shape `(batch,)`.

    They are called `image_bytes` for a model of images, whole files, and `text` for one of texts. `serving_default`
    gives `classes` (strings) and `scores` (float32), both `(batch, min(5, number of classes))`, best first;
    `probabilities` gives `probabilities`, float32 `(batch, number of classes)`; `features` gives `features`, the
    float32 pooled embedding `(batch, channels)` that the last layer sees.

    Args:
        model: Ends in a dropout layer `dropout` and a `ClassLogits` layer `logits`; its input says the image size.
    """

    def __init__(self, model: keras.Model):
        super().__init__(name="serving")
        self.takes = "text" if takes_texts(model) else "image_bytes"
        model = in_float32(model)
        # Tracked as they are; the model itself would bring functions of its own into a SavedModel.
        self.weights = [variable.value for variable in model.variables]
        modules = [layer.saved for layer in model.layers if isinstance(layer, HubModule)]
        self.resources = [resource for module in modules for resource in module.resources()]
        names = model.get_layer("logits").classes
        both = keras.Model(model.inputs, [model.get_layer("dropout").input, model.output])
        read, blank = _reading(model)

        def run(strings):
            count = tf.shape(strings)[0]
            # A blank input stands in for none: convolutions and sums on the CPU mistake the shape of an empty batch.
            inputs = tf.cond(count > 0, lambda: read(strings), lambda: blank)
            features, logits = both(inputs, training=False)
            return features[:count], tf.nn.softmax(logits)[:count]

        def serving_default(strings):
            scores, best = tf.math.top_k(run(strings)[1], min(TOP_K, len(names)))
            return {"classes": tf.gather(tf.constant(names), best), "scores": scores}

        def probabilities(strings):
            return {"probabilities": run(strings)[1]}

        def features(strings):
            return {"features": run(strings)[0]}

        signature = {"input_signature": [tf.TensorSpec([None], tf.string, name=self.takes)], "autograph": False}
        self.serving_default = tf.function(serving_default, **signature)
        self.probabilities = tf.function(probabilities, **signature)
        self.features = tf.function(features, **signature)

    def save(self, folder: str) -> None:
        """Writes a SavedModel with the three functions as its signatures.

        Raises:
            OSError, tf.errors.OpError: The folder cannot be written.
        """
        names = ("serving_default", "probabilities", "features")
        tf.saved_model.save(self, folder, {name: getattr(self, name).get_concrete_function() for name in names})


def _reading(model: keras.Model) -> tuple[Callable[[tf.Tensor], tf.Tensor], tf.Tensor]:
    """Gives what turns strings `(batch,)` into the model's inputs, and an input of one blank example."""
    if takes_texts(model):
        return tf.identity, tf.constant([""])
    image_size = tuple(model.input_shape[1:3])
    pixels = tf.TensorSpec([*image_size, 3], tf.float32)

    def decode(image_bytes):
        return tf.map_fn(lambda one: decode_and_resize(one, image_size), image_bytes, fn_output_signature=pixels)

    return decode, tf.zeros([1, *image_size, 3])
