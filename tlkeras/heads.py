"""Heads: what is put on a backbone's feature map in place of the classes that it was trained for."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from tlkeras.errors import TlkerasError, unknown_name


@keras.saving.register_keras_serializable(package="tlkeras")
class ClassLogits(keras.layers.Dense):
    """A dense layer with one logit a class, in float32 whatever the policy, that carries the class names.

    Args:
        classes: Class names in the order of the logits.
    """

    def __init__(self, classes: Sequence[str], **kwargs):
        kwargs.pop("units", None)
        kwargs.setdefault("dtype", "float32")
        super().__init__(units=len(classes), **kwargs)
        self.classes = [str(name) for name in classes]

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}


@keras.saving.register_keras_serializable(package="tlkeras")
class GeneralizedMeanPooling2D(keras.layers.Layer):
    """Pools `(batch, height, width, channels)` to `(batch, channels)` by a generalised mean with a learned exponent.

    Exponent 1 is the average, infinity the maximum. Radenović et al., "Fine-tuning CNN Image Retrieval with No Human
    Annotation", 2018.
    """

    def __init__(self, exponent: float = 3.0, epsilon: float = 1e-6, **kwargs):
        super().__init__(**kwargs)
        self.exponent, self.epsilon = exponent, epsilon

    def build(self, input_shape):
        self.power = self.add_weight(name="power", initializer=keras.initializers.Constant(self.exponent))

    def call(self, features):
        powers = keras.ops.power(keras.ops.maximum(features, self.epsilon), self.power)
        return keras.ops.power(keras.ops.mean(powers, axis=(1, 2)), 1.0 / self.power)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])

    def get_config(self):
        return {**super().get_config(), "exponent": self.exponent, "epsilon": self.epsilon}


POOLINGS = {
    "avg": keras.layers.GlobalAveragePooling2D,
    "max": keras.layers.GlobalMaxPooling2D,
    "gem": GeneralizedMeanPooling2D,
}


def classify(features, classes: Sequence[str], pooling: str = "avg", dropout: float = 0.2):
    """Pools a feature map, drops out and gives one float32 logit a class.

    Args:
        features: Feature map `(batch, height, width, channels)`, or features `(batch, channels)` that need no pooling.
        classes: Class names, two or more, in the order of the logits.
        pooling: `avg`, `max` or `gem`.
        dropout: Share of the pooled features that is dropped in training, 0..1.

    Returns:
        Logits `(batch, len(classes))`.
    """
    if isinstance(classes, str) or not isinstance(classes, Sequence) or not all(isinstance(c, str) for c in classes):
        raise TlkerasError(f"classes is a list of names. Received: {classes!r}")
    if len(classes) < 2:
        raise TlkerasError(f"a classifier needs two classes or more. Received: {list(classes)}")
    if len(set(classes)) != len(classes):
        raise TlkerasError(f"class names must differ from each other. Received: {list(classes)}")
    if pooling not in POOLINGS:
        raise unknown_name("pooling", pooling, POOLINGS)
    if not 0.0 <= dropout < 1.0:
        raise TlkerasError(f"dropout is a share from 0 to below 1. Received: {dropout}")
    if len(features.shape) == 4:
        features = POOLINGS[pooling](name="pooling")(features)
    elif len(features.shape) != 2:
        raise TlkerasError(
            f"the head 'classify' takes features of shape (batch, channels) or (batch, height, width, channels). "
            f"Received: {tuple(features.shape)}"
        )
    features = keras.layers.Dropout(dropout, name="dropout")(features)
    return ClassLogits(classes, name="logits")(features)


HEADS = {"classify": classify}
