"""From examples to batches: parallel, in an order that a seed decides; images are read as they are needed."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from tlkeras.data import augment as augmentations
from tlkeras.data.dataset import Example
from tlkeras.data.images import decode, decode_and_resize

# Images that are decoded at a time, and batches that are ready before they are asked for.
_PARALLEL = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_AHEAD = 2
# All below is written with operations of TensorFlow; to look for `if` and `while` in it takes a second.
_as_it_is = tf.autograph.experimental.do_not_convert


@dataclass(frozen=True)
class Share:
    """What a process reads of each batch: the slices of `replicas`, where a batch is cut for `total` replicas.

    All slices of a batch together are that batch, whoever reads them, and their sizes differ by one at most.
    """

    replicas: range = range(1)
    total: int = 1

    def layout(self, count: int, batch_size: int) -> tuple[np.ndarray, np.ndarray]:
        """Lays out an epoch of `count` examples in batches of like size, as few as `batch_size` allows.

        A batch is larger only where some replica would have no example in it; only where `count` itself is smaller than
        the number of replicas are there some without any.

        Returns:
            The positions in the epoch of the examples of this process, and the index of the slice that each is in.
            Every replica has a slice of every batch, in turn.
        """
        steps = self.steps(count, batch_size)
        batches = np.split(np.arange(count), np.arange(1, steps) * count // steps)
        slices = [np.array_split(batch, self.total)[replica] for batch in batches for replica in self.replicas]
        return np.concatenate(slices), np.repeat(np.arange(len(slices)), [len(part) for part in slices])

    def steps(self, count: int, batch_size: int) -> int:
        """Counts the batches of an epoch."""
        return max(1, min(math.ceil(count / batch_size), count // self.total))


_ALL = Share()


def ahead(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Has the next batches made while one is computed with."""
    options = tf.data.Options()
    # The tuner's thread sleeps for seconds, and whoever is done with a set waits for it to wake up.
    options.autotune.enabled = False
    return batches.prefetch(_AHEAD).with_options(options)


def image_set(
    paths: Sequence[str | os.PathLike], image_size: int | tuple[int, int], batch_size: int
) -> tf.data.Dataset:
    """Reads image files in their order, once: batches of float32 images `(batch, height, width, 3)` in 0..255."""
    files = tf.data.Dataset.from_tensor_slices(tf.constant([os.fsencode(path) for path in paths], tf.string))
    read = _as_it_is(lambda path: decode_and_resize(tf.io.read_file(path), image_size))
    return ahead(files.map(read, _PARALLEL).batch(batch_size))


def text_set(texts: Sequence[str], batch_size: int) -> tf.data.Dataset:
    """Gives texts in their order, once: batches of strings `(batch,)`."""
    return ahead(tf.data.Dataset.from_tensor_slices(tf.constant(texts, tf.string)).batch(batch_size))


def input_set(
    examples: Sequence[Example], image_size: int | tuple[int, int] | None, batch_size: int
) -> tf.data.Dataset:
    """Gives what a model takes of examples in their order, once: images of that size, or texts where it is None."""
    if image_size is None:
        return text_set([example.text for example in examples], batch_size)
    return image_set([example.path for example in examples], image_size, batch_size)


def view_set(
    views: Sequence[tuple[Example, int]],
    image_size: int | tuple[int, int] | None,
    batch_size: int,
    augment: str = "none",
) -> tf.data.Dataset:
    """Gives what a model takes of augmented versions of examples, in their order, once.

    A version depends on the content of the image and its number alone.

    Args:
        views: Pairs of an example and the number of its version.
        image_size: Side or (height, width) in pixels; None for texts.
        batch_size: Examples a batch.
        augment: `none`, `light` or `strong`, of images.
    """
    if augment == "none":
        return input_set([example for example, _ in views], image_size, batch_size)
    change = augmentations.named(augment)
    size = image_size if isinstance(image_size, int) else image_size[0]
    seeds = tf.constant([[view, int(example.sha256[:12], 16) * 8] for example, view in views], tf.int64)
    inputs = tf.data.Dataset.from_tensor_slices((_inputs([example for example, _ in views]), seeds))
    images = inputs.map(
        lambda path, seed: change(decode(tf.io.read_file(path), augmentations.ENOUGH * size), size, seed), _PARALLEL
    )
    return ahead(images.batch(batch_size))


def evaluation_set(
    examples: Sequence[Example],
    classes: Sequence[str],
    image_size: int | tuple[int, int] | None,
    batch_size: int,
    share: Share = _ALL,
) -> tf.data.Dataset:
    """Reads examples in their order, once.

    Returns:
        Batches of float32 images `(batch, height, width, 3)` in 0..255, or of strings `(batch,)` where `image_size` is
        None, and int32 labels `(batch,)`.
    """
    inputs, labels = _inputs(examples), _labels(examples, classes)

    def read(position):
        value = inputs[position]
        if image_size is not None:
            value = decode_and_resize(tf.io.read_file(value), image_size)
        return value, labels[position]

    return ahead(_batched(read, *share.layout(len(examples), batch_size)))


def training_set(
    examples: Sequence[Example],
    classes: Sequence[str],
    image_size: int | None,
    batch_size: int,
    *,
    seed: int,
    epoch_range: tuple[int, int],
    augment: str = "none",
    share: Share = _ALL,
) -> tf.data.Dataset:
    """Reads examples in a new order each epoch, one epoch after the other.

    Order and augmentation of an epoch depend on the seed and the epoch's number alone: training that begins in the
    middle sees what training from the start would have seen, and processes that share the batches see together what
    one would have seen. No image is buffered to shuffle.

    Args:
        examples: What to read.
        classes: Class names in the order of the labels.
        image_size: Pixels a side; None for texts.
        batch_size: Images a batch at most; the batches of an epoch are of like size.
        seed: Decides order and augmentation.
        epoch_range: First epoch and the one after the last.
        augment: `none`, `light` or `strong`, of images.
        share: What this process reads of each batch.

    Returns:
        Batches as of `evaluation_set`; `Share.steps` of them are one epoch.
    """
    change = augmentations.named(augment)
    inputs, labels = _inputs(examples), _labels(examples, classes)
    layout = share.layout(len(examples), batch_size)
    last = len(examples) - 1

    def read(epoch, position):
        index = tf.random.experimental.index_shuffle(position, tf.stack([seed, epoch]), last)
        if image_size is None:
            return inputs[index], labels[index]
        image = decode(tf.io.read_file(inputs[index]), augmentations.ENOUGH * image_size)
        image_seed = tf.stack([seed * 1_000_003 + epoch, index * 8])
        return change(image, image_size, image_seed), labels[index]

    def epoch_of(epoch):
        return _batched(lambda position: read(epoch, position), *layout)

    epochs = tf.data.Dataset.range(*epoch_range).flat_map(_as_it_is(epoch_of))
    return ahead(epochs)


def _batched(read, positions: np.ndarray, slices: np.ndarray) -> tf.data.Dataset:
    """Reads the examples at the positions, in parallel, into one batch a slice."""
    sizes = tf.constant(np.bincount(slices), tf.int64)
    found = tf.data.Dataset.from_tensor_slices((slices, positions))
    batches = found.map(_as_it_is(lambda number, position: (number, read(position))), _PARALLEL).group_by_window(
        key_func=_as_it_is(lambda number, _: number),
        reduce_func=_as_it_is(lambda number, window: window.map(lambda _, example: example).batch(sizes[number])),
        window_size_func=_as_it_is(lambda number: sizes[number]),
    )
    return batches.apply(tf.data.experimental.assert_cardinality(sizes.shape[0]))


def _inputs(examples: Sequence[Example]) -> tf.Tensor:
    values = [os.fsencode(example.path) if example.text is None else example.text for example in examples]
    return tf.constant(values, tf.string)


def _labels(examples: Sequence[Example], classes: Sequence[str]) -> tf.Tensor:
    index = {name: i for i, name in enumerate(classes)}
    return tf.constant([index[example.label] for example in examples], tf.int32)
