"""The archive of a sentence encoder: three files of a zip are read, none is unpacked, and no code is in them."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tlkeras.backbones.minilm import Sizes, Tokens, tensor_names
from tlkeras.backbones.text import needs
from tlkeras.backbones.weight_files import is_finite
from tlkeras.errors import TlkerasError
from tlkeras.zoo import Card

# The most bytes that each of the files may have.
_FILES = {"config.json": 2**20, "1_Pooling/config.json": 2**20, "tokenizer.json": 2**26, "model.safetensors": 2**31}
_KEYS = {
    "layers": ("num_hidden_layers", 64),
    "width": ("hidden_size", 2**13),
    "heads": ("num_attention_heads", 2**8),
    "inner": ("intermediate_size", 2**15),
    "vocabulary": ("vocab_size", 2**21),
    "positions": ("max_position_embeddings", 2**15),
}
_ALWAYS = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12}
# Whatever zipfile and JSON stumble over in a damaged file.
_BROKEN = (OSError, AttributeError, LookupError, TypeError, ValueError, RuntimeError, EOFError, zlib.error)


@dataclass(frozen=True)
class SentenceEncoder:
    """What an archive holds: the sizes of the network, its tokens, and its tensors by their names in `transformers`."""

    sizes: Sizes
    tokens: Tokens
    tensors: Mapping[str, np.ndarray]


def read(path: str | Path, card: Card) -> SentenceEncoder:
    """Reads the archive of a BERT with mean pooling, as sentence-transformers saves it, zipped.

    Args:
        path: A zip with `config.json`, `tokenizer.json`, `model.safetensors` and `1_Pooling/config.json` at its root.
        card: Whose weights they are to be.

    Raises:
        TlkerasError: There is no such file, it is damaged, too large, or of a network of another kind.
    """
    path = Path(path)
    if path.suffix != ".zip" or not path.is_file():
        raise TlkerasError(
            f"--weights of {card.name!r} is 'imagenet' (what the card names), 'random' or a .zip. Received: '{path}'"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            config, pooling, tokenizer, weights = (_member(archive, name, most) for name, most in _FILES.items())
        if json.loads(pooling).get("pooling_mode_mean_tokens") is not True:
            raise TlkerasError("1_Pooling/config.json names another pooling than the mean of the tokens")
        sizes = _sizes(json.loads(config), card)
        tokens = _tokens(json.loads(tokenizer), sizes)
        return SentenceEncoder(sizes, tokens, _tensors(weights, tensor_names(sizes)))
    except TlkerasError as error:
        raise TlkerasError(f"the weights {path}: {error}") from None
    except (*_BROKEN, zipfile.BadZipFile) as error:
        raise TlkerasError(f"the weights {path} cannot be read: {type(error).__name__}: {error}") from None


def _member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    about = archive.getinfo(name)
    if about.file_size > most:
        raise TlkerasError(f"{name} has {about.file_size:,} bytes; at most {most:,}")
    return archive.read(about)


def _tensors(content: bytes, names: list[str]) -> dict[str, np.ndarray]:
    try:
        held = needs("safetensors.numpy").load(content)
    except needs("safetensors").SafetensorError as error:
        raise TlkerasError(f"model.safetensors is damaged: {error}") from None
    if missing := [name for name in names if name not in held]:
        raise TlkerasError(f"model.safetensors lacks the tensors {', '.join(missing)}")
    if wrong := [name for name in names if held[name].dtype.kind != "f" or not is_finite(held[name])]:
        raise TlkerasError(f"model.safetensors is damaged: no floats, NaN, or beyond float32, in {', '.join(wrong)}")
    return {name: held[name].astype(np.float32) for name in names}


def _sizes(config: dict, card: Card) -> Sizes:
    other = [f"{key} {config.get(key)!r}" for key, value in _ALWAYS.items() if config.get(key) != value]
    if config.get("position_embedding_type", "absolute") != "absolute":
        other.append(f"position_embedding_type {config['position_embedding_type']!r}")
    if other:
        raise TlkerasError(f"config.json is not that of a BERT: {', '.join(other)}")
    for key, most in _KEYS.values():
        if type(config.get(key)) is not int or not 0 < config[key] <= most:
            raise TlkerasError(f"config.json: {key} is a number from 1 to {most:,}. Received: {config.get(key)!r}")
    sizes = Sizes(**{name: config[key] for name, (key, _) in _KEYS.items()})
    if sizes.width % sizes.heads or sizes.width != card.features or sizes.layers != len(card.stages) - 1:
        raise TlkerasError(
            f"config.json tells of {sizes.layers} layers of width {sizes.width} with {sizes.heads} heads; the card "
            f"{card.name!r} of {len(card.stages) - 1} layers of width {card.features}"
        )
    return sizes


def _tokens(tokenizer: dict, sizes: Sizes) -> Tokens:
    model, normalizer = tokenizer["model"], tokenizer["normalizer"]
    plain = {"clean_text": True, "handle_chinese_chars": True, "type": "BertNormalizer"}
    if model["type"] != "WordPiece" or model["continuing_subword_prefix"] != "##" or plain.items() - normalizer.items():
        raise TlkerasError("tokenizer.json is not that of a BERT")
    numbers = model["vocab"]
    pieces = sorted(numbers, key=numbers.get)
    lacks = {"[PAD]", "[UNK]", "[CLS]", "[SEP]"} - set(pieces)
    if list(map(numbers.get, pieces)) != list(range(sizes.vocabulary)) or lacks or any("\n" in p for p in pieces):
        raise TlkerasError(f"tokenizer.json has no vocabulary of {sizes.vocabulary:,} pieces, numbered from 0")
    lowercase, strip_accents = normalizer["lowercase"], normalizer["strip_accents"]
    return Tokens(pieces, bool(lowercase), bool(lowercase if strip_accents is None else strip_accents))
