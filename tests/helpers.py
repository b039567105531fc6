"""What tests make for themselves: small models, small image files, small archives of weights."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
from PIL import Image

from tlkeras import heads
from tlkeras.backbones.preprocess import Preprocess

REPOSITORY = Path(__file__).parent.parent
CLASSES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]


def make_tiny_model(classes=CLASSES, size: int = 32, seed: int = 0) -> keras.Model:
    """A flat model as `tlkeras.build` makes them, small, with random weights and clear preferences."""
    keras.utils.set_random_seed(seed)
    image = keras.Input((size, size, 3), name="image")
    x = Preprocess({"name": "tiny", "preprocess": "tf"}, name="preprocess")(image)
    x = keras.layers.Conv2D(8, 3, strides=2, name="convolution")(x)
    x = keras.layers.BatchNormalization(name="normalization")(x)
    x = keras.layers.ReLU(name="activation")(x)
    model = keras.Model(image, heads.classify(x, classes), name="tiny")
    kernel = model.get_layer("logits").kernel
    kernel.assign(kernel * 5)
    return model


def write_photo(path: Path, seed: int, size=(50, 40), mode: str = "RGB") -> Path:
    """An image of broad coloured patches; the suffix says the format."""
    patches = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(patches).resize(size, Image.Resampling.BICUBIC).convert(mode).save(path)
    return path


def write_sentence_encoder(path: Path, layers: int = 1, width: int = 8, **changes: bytes) -> Path:
    """A tiny BERT with random weights in a zip, as sentence-transformers saves one; `changes` replace whole members."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *"abcdefghijklmnopqrstuvwxyz", "good", "bad", "film", "##s"]
    config = {"model_type": "bert", "hidden_act": "gelu", "layer_norm_eps": 1e-12, "max_position_embeddings": 16}
    config |= {"num_hidden_layers": layers, "hidden_size": width, "num_attention_heads": 2, "intermediate_size": 12}
    config["vocab_size"] = len(pieces)
    shapes = {"word_embeddings": (len(pieces), width), "position_embeddings": (16, width)}
    shapes = {f"embeddings.{name}.weight": shape for name, shape in shapes.items()}
    shapes |= {"embeddings.token_type_embeddings.weight": (2, width), **_norm("embeddings", width)}
    for number in range(layers):
        block = f"encoder.layer.{number}"
        for part in ("attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"):
            shapes |= {f"{block}.{part}.weight": (width, width), f"{block}.{part}.bias": (width,)}
        shapes |= {f"{block}.intermediate.dense.weight": (12, width), f"{block}.intermediate.dense.bias": (12,)}
        shapes |= {f"{block}.output.dense.weight": (width, 12), f"{block}.output.dense.bias": (width,)}
        shapes |= {**_norm(f"{block}.attention.output", width), **_norm(f"{block}.output", width)}
    members = {
        "config.json": json.dumps(config).encode(),
        "tokenizer.json": json.dumps(_tokenizer(pieces)).encode(),
        "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
        "model.safetensors": safetensors_of(shapes),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (members | changes).items():
            archive.writestr(name, content)
    return path


def safetensors_of(shapes: dict[str, tuple]) -> bytes:
    """A .safetensors file of random numbers."""
    from safetensors.numpy import save

    random = np.random.default_rng(0)
    return save({name: random.normal(size=shape).astype("float32") for name, shape in shapes.items()})


def _norm(name: str, width: int) -> dict[str, tuple]:
    return {f"{name}.LayerNorm.weight": (width,), f"{name}.LayerNorm.bias": (width,)}


def _tokenizer(pieces: list[str]) -> dict:
    normalizer = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True}
    return {
        "normalizer": {**normalizer, "strip_accents": None, "lowercase": True},
        "model": {
            "type": "WordPiece",
            "continuing_subword_prefix": "##",
            "vocab": {piece: number for number, piece in enumerate(pieces)},
        },
    }
