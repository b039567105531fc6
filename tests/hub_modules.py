"""Modules in the formats of TF-Hub, made for tests: small, and real SavedModels."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

SIZE = 32
FEATURES = 6
WORDS = ["good", "bad", "very", "not", "film"]


def import_tf_keras():
    """Imports Keras 2, which came with the times that TF-Hub's modules were made in; skips where it is absent."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("tf_keras", reason="needs tf_keras, of the extra hub")


def make(kind: str, folder: Path) -> Path:
    """Makes the module of that kind in a folder and gives its own folder; for BERT that of the encoder."""
    makers = {
        "keras2": keras2_image_module,
        "momentum": momentum_module,
        "counted": counted_module,
        "NaN": lambda path: counted_module(path, float("nan")),
        "tuple": lambda path: momentum_module(path, tuple),
        "signature": signature_module,
        "tf1": tf1_module,
        "references": lambda path: tf1_module(path, resources=False),
        "one image": lambda path: bare_module(path, lambda x: tf.reduce_mean(x, [1, 2]), batch=1),
        "whole numbers": lambda path: bare_module(path, lambda x: tf.cast(tf.reduce_max(x, [1, 2]), tf.int32)),
        "pixels": lambda path: bare_module(path, lambda x: tf.reduce_mean(tf.cast(x, tf.float32), [1, 2]), tf.uint8),
        "no variables": lambda path: bare_module(path, lambda x: tf.reduce_mean(x, [1, 2])),
        "text": text_module,
        "bert": lambda path: bert_modules(path)[1],
    }
    return makers[kind](folder / kind)


def keras2_image_module(folder: Path) -> Path:
    """A reusable feature vector as tf_keras saves it: BatchNorm, dropout and an l2 regulariser in two blocks."""
    keras2 = import_tf_keras()
    layers, l2 = keras2.layers, keras2.regularizers.l2(1e-2)
    keras2.utils.set_random_seed(0)
    x = image = keras2.Input((None, None, 3))
    for name, channels in (("stem", 4), ("block1a", 5), ("block2a", FEATURES)):
        x = layers.Conv2D(channels, 3, 2, name=f"{name}_conv", kernel_regularizer=l2)(x)
        x = layers.BatchNormalization(name=f"{name}_bn", momentum=0.5)(x)
        x = layers.Activation("relu")(x)
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    tf.saved_model.save(keras2.Model(image, x), str(folder))
    return folder


class Momentum(tf.Module):
    """A reusable module with a further argument, a dictionary or a tuple of outputs, and a trace for each mode."""

    def __init__(self, outputs=dict):
        super().__init__()
        with tf.name_scope("net/conv"):
            self.kernel = tf.Variable(tf.random.stateless_normal([3, FEATURES], [0, 1]), name="kernel")
        with tf.name_scope("net/norm"):
            self.moving_mean = tf.Variable(tf.zeros([FEATURES]), trainable=False, name="moving_mean")
        self._outputs = outputs

    @tf.function
    def __call__(self, images, training=False, batch_norm_momentum=0.99):
        x = tf.reduce_mean(images, [1, 2]) @ self.kernel
        if training:
            mean = tf.reduce_mean(x, 0)
            rest = 1.0 - batch_norm_momentum
            self.moving_mean.assign(self.moving_mean * batch_norm_momentum + mean * rest)
        else:
            mean = self.moving_mean
        outputs = {"default": x - mean, "twice": 2 * x}
        return outputs if self._outputs is dict else tuple(outputs.values())


def momentum_module(folder: Path, outputs=dict) -> Path:
    module = Momentum(outputs)
    images, number = tf.TensorSpec([None, None, None, 3]), tf.TensorSpec([])
    for training in (True, False):
        module.__call__.get_concrete_function(images, training=training, batch_norm_momentum=number)
    tf.saved_model.save(module, str(folder))
    return folder


def counted_module(folder: Path, value: float = 1.0) -> Path:
    """A module made from a checkpoint, which counts how often it was saved, and that counts steps besides."""
    module = tf.train.Checkpoint()
    module.stages = [tf.Variable(tf.fill([3, 3], value), name=f"stage{i}/kernel") for i in (1, 2)]
    module.step = tf.Variable(0, dtype=tf.int64, name="iteration")
    spec = tf.TensorSpec([None, None, None, 3], tf.float32)
    first, second = module.stages
    module.__call__ = tf.function(lambda x: tf.reduce_mean(x, [1, 2]) @ first @ second, input_signature=[spec])
    tf.saved_model.save(module, str(folder))
    return folder


def signature_module(folder: Path) -> Path:
    """A SavedModel that has a signature and cannot be called."""
    module = tf.Module()
    module.kernel = tf.Variable(tf.random.stateless_normal([3, FEATURES], [0, 1]), name="conv/kernel")

    @tf.function(input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3], tf.float32, name="images")])
    def serve(images):
        return {"vector": tf.reduce_mean(images, [1, 2]) @ module.kernel}

    tf.saved_model.save(module, str(folder), signatures=serve)
    return folder


def bare_module(folder: Path, function, dtype=tf.float32, batch: int | None = None) -> Path:
    """A function of images as a module, without any variable."""
    module = tf.Module()
    spec = tf.TensorSpec([batch, None, None, 3], dtype)
    module.__call__ = tf.function(function, input_signature=[spec])
    tf.saved_model.save(module, str(folder))
    return folder


def tf1_module(folder: Path, resources: bool = True) -> Path:
    """A module in the format of TF1: a graph for training and one without tags for serving."""
    v1 = tf.compat.v1
    builder = v1.saved_model.Builder(str(folder))
    for tags in ([], ["train"]):
        with tf.Graph().as_default(), v1.Session() as session:
            images = v1.placeholder(tf.float32, [None, None, None, 3])
            shape, ones = [3, FEATURES], v1.ones_initializer()
            kernel = v1.get_variable("module/conv/kernel", shape, initializer=ones, use_resource=resources)
            vector = tf.tensordot(tf.reduce_mean(images, [1, 2]), kernel, 1)
            session.run(v1.global_variables_initializer())
            signature = v1.saved_model.predict_signature_def({"images": images}, {"default": vector, "other": vector})
            signatures = {"default": signature}
            if tags:
                builder.add_meta_graph(tags, signatures)
            else:
                builder.add_meta_graph_and_variables(session, tags, signatures)
    builder.save()
    (folder / "tfhub_module.pb").write_bytes(b"\x08\x03")
    return folder


class Words(tf.Module):
    """Strings to the sum of their words' vectors over a root, in the style of NNLM: a table out of a file of words."""

    def __init__(self, vocabulary: Path):
        super().__init__()
        self.file = tf.saved_model.Asset(str(vocabulary))
        lines = tf.lookup.TextFileInitializer(
            self.file,
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticHashTable(lines, len(WORDS))
        values = tf.random.stateless_normal([len(WORDS) + 1, FEATURES], [0, 1])
        self.embeddings = tf.Variable(values, name="embeddings")

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, texts):
        words = tf.strings.split(tf.strings.lower(texts))
        vectors = tf.gather(self.embeddings, tf.ragged.map_flat_values(self.table.lookup, words))
        counts = tf.cast(words.row_lengths(), tf.float32)[:, None]
        return tf.math.divide_no_nan(tf.reduce_sum(vectors, axis=1), tf.sqrt(counts))


def text_module(folder: Path) -> Path:
    vocabulary = folder.parent / "vocabulary.txt"
    vocabulary.write_text("\n".join(WORDS) + "\n")
    tf.saved_model.save(Words(vocabulary), str(folder))
    vocabulary.unlink()
    return folder


def bert_modules(folder: Path) -> tuple[Path, Path]:
    """A preprocessor with a tokenizer of TensorFlow Text in its graph, and an encoder that takes what it gives."""
    text = pytest.importorskip("tensorflow_text", reason="needs tensorflow-text, of the extra text")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    vocabulary = folder / "pieces.txt"
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary.write_text("\n".join(pieces) + "\n")
    tokenizer = text.BertTokenizer(str(vocabulary), lower_case=True)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def prepare(texts):
        ids = tokenizer.tokenize(texts).merge_dims(1, 2)
        ids = tf.cast(ids.to_tensor(0, shape=[None, 8]), tf.int32)
        mask = tf.cast(ids > 0, tf.int32)
        return {"input_word_ids": ids, "input_mask": mask, "input_type_ids": tf.zeros_like(ids)}

    tf.saved_model.save(Callable(prepare, tokenizer), str(folder / "prepare"))
    encoder, spec = Encoder(len(pieces)), tf.TensorSpec([None, None], tf.int32)
    tokens = {name: spec for name in ("input_word_ids", "input_mask", "input_type_ids")}
    for training in (True, False):
        encoder.__call__.get_concrete_function(tokens, training=training)
    tf.saved_model.save(encoder, str(folder / "encoder"))
    vocabulary.unlink()
    return folder / "prepare", folder / "encoder"


class Callable(tf.Module):
    """A function and what it needs, as a reusable module."""

    def __init__(self, function, needs):
        super().__init__()
        self._needs, self.__call__ = needs, function


class Encoder(tf.Module):
    """A dictionary of tokens to a dictionary of vectors, with dropout in training, in the style of BERT on TF-Hub."""

    def __init__(self, pieces: int):
        super().__init__()
        shapes = {"word_embeddings/embeddings": pieces, **{f"transformer/layer_{i}/dense/kernel": 4 for i in range(3)}}
        normal = tf.random.stateless_normal
        self.parts = [tf.Variable(normal([n, 4], [i, 1]), name=name) for i, (name, n) in enumerate(shapes.items())]
        self.parts.append(tf.Variable(normal([4, FEATURES], [9, 1]), name="pooler_transform/kernel"))

    @tf.function
    def __call__(self, tokens, training=False):
        words, *layers, pooler = self.parts
        x = tf.gather(words, tokens["input_word_ids"])
        for kernel in layers:
            x += tf.nn.dropout(tf.tanh(x @ kernel), 0.5) if training else tf.tanh(x @ kernel)
        mask = tf.cast(tokens["input_mask"], tf.float32)[..., None]
        pooled = tf.reduce_sum(x * mask, 1) / tf.maximum(tf.reduce_sum(mask, 1), 1.0)
        return {"pooled_output": tf.tanh(pooled @ pooler), "sequence_output": x}


def pictures(count: int = 4, size: int = SIZE, seed: int = 0) -> np.ndarray:
    """Random pictures 0..255."""
    return np.random.default_rng(seed).uniform(0, 255, (count, size, size, 3)).astype("float32")
