"""Sentence encoders of BERT's kind (MiniLM and its like) from KerasHub's layers, with mean pooling.

KerasHub's own `BertBackbone` computes GELU by an approximation, which moves the embeddings by 0.001 from those of the
original, and has a pooler that sentence embeddings do not use. So its layers are put together here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np

from tlkeras.backbones.text import needs
from tlkeras.backbones.wordpieces import WordPieces
from tlkeras.errors import TlkerasError
from tlkeras.zoo import Card


class Sizes(NamedTuple):
    """What tells one BERT from another."""

    layers: int
    width: int
    heads: int
    inner: int
    vocabulary: int
    positions: int


# Stands in where no weights bring a vocabulary: words of single letters.
_LETTERS = [chr(code) for code in range(0x21, 0x7F)]
_SPELLING = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *_LETTERS, *(f"##{letter}" for letter in _LETTERS)]


@keras.saving.register_keras_serializable(package="tlkeras")
class EncoderBlock(keras.layers.Layer):
    """KerasHub's `TransformerEncoder` with BERT's exact GELU and nothing random in it.

    KerasHub is imported when the first of them is made, so that a saved model can be loaded with tlkeras alone.

    Args:
        inner: Width of its inner layer.
        heads: Heads of its attention.

    Raises:
        TlkerasError: The extra `text` is not installed.
    """

    def __init__(self, inner: int, heads: int, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.heads = inner, heads
        self.block = needs("keras_hub").layers.TransformerEncoder(
            inner,
            heads,
            activation="gelu",
            layer_norm_epsilon=1e-12,
            kernel_initializer=_initializer(),
            dtype=self.dtype_policy,
        )

    def build(self, x_shape, padding_mask_shape):
        self.block.build(x_shape)
        # Its own layers came into being just now, and would train in a model that was saved with them frozen.
        self.block.trainable = self.trainable

    def call(self, x, padding_mask):
        return self.block(x, padding_mask=padding_mask)

    def compute_output_shape(self, x_shape, padding_mask_shape):
        return x_shape

    def get_config(self):
        return {**super().get_config(), "inner": self.inner, "heads": self.heads}


class Tokens(NamedTuple):
    """How texts become tokens: the pieces by number, and what is done to the letters first."""

    pieces: list[str]
    lowercase: bool
    strip_accents: bool


def sizes_without_weights(card: Card) -> Sizes:
    """Gives the sizes of a network that gets random weights: what its card says, and else what MiniLM has."""
    layers, width, positions = len(card.stages) - 1, card.features, max(512, card.input_size)
    inner = 4 * width
    block = 4 * (width + 1) * width + (width + 1) * inner + (inner + 1) * width + 4 * width
    left = card.parameters - layers * block - 2 * width - positions * width
    return Sizes(layers, width, max(1, width // 32), inner, max(left // width, len(_SPELLING)), positions)


def build(texts, card: Card, sizes: Sizes, tokens: Tokens | None = None):
    """Applies the network to strings `(batch,)`.

    Args:
        texts: Symbolic strings.
        card: `input_size` is the most tokens of a text.
        sizes: Of the network.
        tokens: Where not given, every letter is a token.

    Returns:
        The mean over the tokens of a text, `(batch, card.features)`. The original scales it to length 1 in the end,
        for comparing texts by angle; a classifier learns better from what it was before.

    Raises:
        TlkerasError: The extra `text` is not installed, or a text may be longer than the network has positions.
    """
    hub = needs("keras_hub").layers
    if not 2 < card.input_size <= sizes.positions:
        raise TlkerasError(f"card {card.name!r}: input_size is 3 to {sizes.positions}. Received: {card.input_size}")
    tokens = tokens or Tokens(_SPELLING, True, True)
    pieces, mask = WordPieces(
        "\n".join(tokens.pieces), card.input_size, tokens.lowercase, tokens.strip_accents, name="wordpieces"
    )(texts)
    x = keras.layers.Embedding(
        sizes.vocabulary, sizes.width, embeddings_initializer=_initializer(), name="embeddings_tokens"
    )(pieces)
    positions = hub.PositionEmbedding(sizes.positions, initializer=_initializer(), name="embeddings_positions")(x)
    x = keras.layers.Add(name="embeddings_add")([x, positions])
    x = keras.layers.LayerNormalization(epsilon=1e-12, name="embeddings_norm")(x)
    for number in range(1, sizes.layers + 1):
        x = EncoderBlock(sizes.inner, sizes.heads, name=f"layer{number}")(x, mask)
    return keras.layers.GlobalAveragePooling1D(name="mean_of_tokens")(x, mask=mask)


def _initializer():
    return keras.initializers.TruncatedNormal(stddev=0.02)


def set_weights(model: keras.Model, tensors: Mapping[str, np.ndarray], card: Card) -> None:
    """Puts tensors, named as `transformers` names those of a BertModel, into the layers.

    Raises:
        TlkerasError: Tensors have other shapes than the sizes say: all of them are listed.
    """
    wrong = []
    for variable, name, array in _pairs(model, tensors):
        if array.size != np.prod(variable.shape):
            wrong.append(f"{name}: needs {tuple(variable.shape)}, the file has {array.shape}")
        else:
            # Attention is (width, heads, width of a head) here, and (width, width) there.
            variable.assign(array.reshape(variable.shape))
    if wrong:
        raise TlkerasError(f"the weights do not fit {card.name!r}: {'; '.join(wrong)}")


def tensor_names(sizes: Sizes) -> list[str]:
    """Lists the tensors that a network of these sizes takes."""
    blocks = [
        f"encoder.layer.{number}.{part}.{kind}"
        for number in range(sizes.layers)
        for part in (*_DENSE, *_NORMS)
        for kind in ("weight", "bias")
    ]
    tables = ("word_embeddings.weight", "position_embeddings.weight", "token_type_embeddings.weight")
    return [f"embeddings.{name}" for name in (*tables, "LayerNorm.weight", "LayerNorm.bias")] + blocks


# Where a block of KerasHub keeps what `transformers` calls so.
_DENSE = {
    "attention.self.query": lambda block: block._self_attention_layer.query_dense,
    "attention.self.key": lambda block: block._self_attention_layer.key_dense,
    "attention.self.value": lambda block: block._self_attention_layer.value_dense,
    "attention.output.dense": lambda block: block._self_attention_layer.output_dense,
    "intermediate.dense": lambda block: block._feedforward_intermediate_dense,
    "output.dense": lambda block: block._feedforward_output_dense,
}
_NORMS = {
    "attention.output.LayerNorm": lambda block: block._self_attention_layer_norm,
    "output.LayerNorm": lambda block: block._feedforward_layer_norm,
}


def _pairs(model: keras.Model, tensors: Mapping[str, np.ndarray]) -> Iterator[tuple[keras.Variable, str, np.ndarray]]:
    """Pairs each variable with its tensor, turned as Keras has it."""
    names = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
    yield model.get_layer("embeddings_tokens").embeddings, names[0], tensors[names[0]]
    # All is one segment here: what the original adds for it is the same everywhere.
    segment = tensors["embeddings.token_type_embeddings.weight"][:1]
    yield model.get_layer("embeddings_positions").position_embeddings, names[1], tensors[names[1]] + segment
    yield from _norm(model.get_layer("embeddings_norm"), "embeddings.LayerNorm", tensors)
    blocks = [layer.block for layer in model.layers if isinstance(layer, EncoderBlock)]
    for number, block in enumerate(blocks):
        for part, dense in _DENSE.items():
            name = f"encoder.layer.{number}.{part}"
            # PyTorch: (out, in); Keras: (in, out).
            yield dense(block).kernel, f"{name}.weight", tensors[f"{name}.weight"].T
            yield dense(block).bias, f"{name}.bias", tensors[f"{name}.bias"]
        for part, norm in _NORMS.items():
            yield from _norm(norm(block), f"encoder.layer.{number}.{part}", tensors)


def _norm(layer, name: str, tensors: Mapping[str, np.ndarray]):
    yield layer.gamma, f"{name}.weight", tensors[f"{name}.weight"]
    yield layer.beta, f"{name}.bias", tensors[f"{name}.bias"]
