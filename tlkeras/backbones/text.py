"""The first layer of every text model, and the one line that says what a text backbone needs beside TensorFlow."""

from __future__ import annotations

import importlib
from types import ModuleType

import keras
import tensorflow as tf

from tlkeras.errors import TlkerasError


@keras.saving.register_keras_serializable(package="tlkeras")
class TextPreprocess(keras.layers.Layer):
    """Passes strings `(batch,)` on as they are, and carries the card, as `Preprocess` does for images.

    Args:
        card: The card of the backbone as a plain dictionary (`Card.to_dict()`).
        recipe: What `tlkeras.build` was asked for, so that a saved model can tell how it was made.
    """

    def __init__(self, card: dict, recipe: dict | None = None, **kwargs):
        super().__init__(**kwargs)
        self.card = dict(card)
        self.recipe = dict(recipe or {})

    def call(self, texts):
        return tf.identity(texts)

    def compute_output_spec(self, texts):
        return keras.KerasTensor(texts.shape, "string")

    def get_config(self):
        return {**super().get_config(), "card": self.card, "recipe": self.recipe}


def takes_texts(model: keras.Model) -> bool:
    """Says whether a model made by `tlkeras.build` takes strings; the others take images."""
    return model.get_layer("preprocess").card.get("task") == "text"


def needs(module: str) -> ModuleType:
    """Imports a module of the extra `text`.

    Raises:
        TlkerasError: It is not installed, or not for this TensorFlow; the message has the pip command.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, tf.errors.NotFoundError) as error:
        raise TlkerasError(
            f"text backbones need KerasHub and TensorFlow Text: pip install 'tlkeras[text]' ({error})"
        ) from error
