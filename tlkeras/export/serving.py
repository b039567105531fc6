"""A model as it is served: bytes of image files in, class names and scores out, computed in float32."""

from __future__ import annotations

import keras
import tensorflow as tf

from tlkeras.backbones.hub_module import HubModule
from tlkeras.data.images import decode_and_resize
from tlkeras.precision import in_float32

TOP_K = 5


class Serving(tf.Module):
    """The three functions that an export answers with; each takes `image_bytes`, strings of shape `(batch,)`.

    `serving_default` gives `classes` (strings) and `scores` (float32), both `(batch, min(5, number of classes))`, best
    first; `probabilities` gives `probabilities`, float32 `(batch, number of classes)`; `features` gives `features`, the
    float32 pooled embedding `(batch, channels)` that the last layer sees.

    Args:
        model: Ends in a dropout layer `dropout` and a `ClassLogits` layer `logits`; its input says the image size.
    """

    def __init__(self, model: keras.Model):
        super().__init__(name="serving")
        model = in_float32(model)
        # Tracked as they are; the model itself would bring functions of its own into a SavedModel.
        self.weights = [variable.value for variable in model.variables]
        modules = [layer.saved for layer in model.layers if isinstance(layer, HubModule)]
        self.resources = [resource for module in modules for resource in module.resources()]
        image_size = tuple(model.input_shape[1:3])
        names = model.get_layer("logits").classes
        both = keras.Model(model.inputs, [model.get_layer("dropout").input, model.output])

        @_serves
        def run(image_bytes):
            count = tf.shape(image_bytes)[0]
            # A blank image stands in for none: convolutions on the CPU mistake the shape of an empty batch.
            images = tf.cond(count > 0, lambda: decode(image_bytes), lambda: tf.zeros([1, *image_size, 3]))
            features, logits = both(images, training=False)
            return features[:count], tf.nn.softmax(logits)[:count]

        def decode(image_bytes):
            pixels = tf.TensorSpec([*image_size, 3], tf.float32)
            return tf.map_fn(lambda one: decode_and_resize(one, image_size), image_bytes, fn_output_signature=pixels)

        @_serves
        def serving_default(image_bytes):
            scores, best = tf.math.top_k(run(image_bytes)[1], min(TOP_K, len(names)))
            return {"classes": tf.gather(tf.constant(names), best), "scores": scores}

        @_serves
        def probabilities(image_bytes):
            return {"probabilities": run(image_bytes)[1]}

        @_serves
        def features(image_bytes):
            return {"features": run(image_bytes)[0]}

        self.serving_default, self.probabilities, self.features = serving_default, probabilities, features

    def save(self, folder: str) -> None:
        """Writes a SavedModel with the three functions as its signatures.

        Raises:
            OSError, tf.errors.OpError: The folder cannot be written.
        """
        names = ("serving_default", "probabilities", "features")
        tf.saved_model.save(self, folder, {name: getattr(self, name).get_concrete_function() for name in names})


def _serves(function):
    return tf.function(function, input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
