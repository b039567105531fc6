"""A model as one graph from pixels to probabilities, which is what other runtimes than TensorFlow's are given."""

from __future__ import annotations

import keras
import tensorflow as tf

from tlkeras.backbones.hub_module import HubModule
from tlkeras.features.engines.graphs import computation
from tlkeras.precision import in_float32

PIXELS, PROBABILITIES = "pixels", "probabilities"


class Pixels(tf.Module):
    """A function of a model of images, with what it needs to be saved.

    Attributes:
        function: Takes `pixels`, RGB `(batch, height, width, 3)` in 0..255, of the model's own size, and gives
            `probabilities`, float32 `(batch, classes)`; it normalises inside, and BatchNorm is folded where it can be.

    Args:
        model: A classifier of images made by `tlkeras.build`, or of the same layout.
        batch: Images at a time; any number where None.
        dtype: Type of the pixels.
        temperature: The logits are divided by it.
    """

    def __init__(self, model: keras.Model, batch: int | None, dtype: tf.DType, temperature: float = 1.0):
        super().__init__(name=model.name)
        model = in_float32(model)
        self.variables_of_model = [variable.value for variable in model.variables]
        modules = [layer.saved for layer in model.layers if isinstance(layer, HubModule)]
        self.resources = [resource for module in modules for resource in module.resources()]
        compute = computation(model)

        def probabilities(pixels):
            (logits,) = compute(tf.cast(pixels, tf.float32))
            return {PROBABILITIES: tf.nn.softmax(logits / temperature if temperature != 1.0 else logits)}

        spec = tf.TensorSpec([batch, *model.input_shape[1:]], dtype, name=PIXELS)
        self.function = tf.function(probabilities, input_signature=[spec], autograph=False, jit_compile=False)

    @property
    def concrete(self) -> tf.types.experimental.ConcreteFunction:
        """The traced function."""
        return self.function.get_concrete_function()
