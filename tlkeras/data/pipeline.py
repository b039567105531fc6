"""From examples to batches: parallel, in an order that a seed decides; images are read as they are needed."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence

import tensorflow as tf

from tlkeras.data import augment as augmentations
from tlkeras.data.dataset import Example
from tlkeras.data.images import decode, decode_and_resize

_PARALLEL = tf.data.AUTOTUNE


def image_set(
    paths: Sequence[str | os.PathLike], image_size: int | tuple[int, int], batch_size: int
) -> tf.data.Dataset:
    """Reads image files in their order, once: batches of float32 images `(batch, height, width, 3)` in 0..255."""
    files = tf.data.Dataset.from_tensor_slices(tf.constant([os.fsencode(path) for path in paths], tf.string))
    images = files.map(lambda path: decode_and_resize(tf.io.read_file(path), image_size), _PARALLEL)
    return images.batch(batch_size).prefetch(_PARALLEL)


def text_set(texts: Sequence[str], batch_size: int) -> tf.data.Dataset:
    """Gives texts in their order, once: batches of strings `(batch,)`."""
    return tf.data.Dataset.from_tensor_slices(tf.constant(texts, tf.string)).batch(batch_size).prefetch(_PARALLEL)


def input_set(
    examples: Sequence[Example], image_size: int | tuple[int, int] | None, batch_size: int
) -> tf.data.Dataset:
    """Gives what a model takes of examples in their order, once: images of that size, or texts where it is None."""
    if image_size is None:
        return text_set([example.text for example in examples], batch_size)
    return image_set([example.path for example in examples], image_size, batch_size)


def evaluation_set(
    examples: Sequence[Example], classes: Sequence[str], image_size: int | tuple[int, int] | None, batch_size: int
) -> tf.data.Dataset:
    """Reads examples in their order, once.

    Returns:
        Batches of float32 images `(batch, height, width, 3)` in 0..255, or of strings `(batch,)` where `image_size` is
        None, and int32 labels `(batch,)`.
    """
    labels = tf.data.Dataset.from_tensor_slices(_labels(examples, classes)).batch(batch_size)
    return tf.data.Dataset.zip(input_set(examples, image_size, batch_size), labels)


def training_set(
    examples: Sequence[Example],
    classes: Sequence[str],
    image_size: int | None,
    batch_size: int,
    *,
    seed: int,
    epoch_range: tuple[int, int],
    augment: str = "none",
) -> tuple[tf.data.Dataset, int]:
    """Reads examples in a new order each epoch, one epoch after the other.

    Order and augmentation of an epoch depend on the seed and the epoch's number alone: training that begins in the
    middle sees what training from the start would have seen. No image is buffered to shuffle.

    Args:
        examples: What to read.
        classes: Class names in the order of the labels.
        image_size: Pixels a side; None for texts.
        batch_size: Images a batch; the last batch of an epoch may have fewer.
        seed: Decides order and augmentation.
        epoch_range: First epoch and the one after the last.
        augment: `none`, `light` or `strong`, of images.

    Returns:
        Batches as of `evaluation_set`, and how many of them are one epoch.
    """
    change = augmentations.named(augment)
    labels = _labels(examples, classes)
    if image_size is None:
        inputs = tf.constant([example.text for example in examples], tf.string)
    else:
        inputs = tf.constant([os.fsencode(example.path) for example in examples], tf.string)
    last = len(examples) - 1

    def read(epoch, position):
        index = tf.random.experimental.index_shuffle(position, tf.stack([seed, epoch]), last)
        if image_size is None:
            return inputs[index], labels[index]
        image = decode(tf.io.read_file(inputs[index]))
        image_seed = tf.stack([seed * 1_000_003 + epoch, index * 8])
        return change(image, image_size, image_seed), labels[index]

    def epoch_of(epoch):
        positions = tf.data.Dataset.range(len(examples))
        return positions.map(lambda position: read(epoch, position), _PARALLEL).batch(batch_size)

    epochs = tf.data.Dataset.range(*epoch_range).flat_map(epoch_of)
    return epochs.prefetch(_PARALLEL), math.ceil(len(examples) / batch_size)


def _labels(examples: Sequence[Example], classes: Sequence[str]) -> tf.Tensor:
    index = {name: i for i, name in enumerate(classes)}
    return tf.constant([index[example.label] for example in examples], tf.int32)
