"""What training reads is decided by seed and epoch alone, and nothing in it hinders TensorFlow to work in parallel."""

import itertools
import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework import op_def_registry

from tlkeras import data
from tlkeras.data import augment, pipeline
from tlkeras.data.images import decode_and_resize
from tlkeras.errors import TlkerasError

SIZE = 8


@pytest.fixture
def loaded(make_images):
    return data.load(str(make_images({"a": 15, "b": 7})))


def training(loaded, epochs, augment="none", seed=5, batch_size=4):
    steps = pipeline.Share().steps(len(loaded.parts["train"]), batch_size)
    dataset = pipeline.training_set(
        loaded.parts["train"], loaded.classes, SIZE, batch_size, seed=seed, epoch_range=epochs, augment=augment
    )
    return dataset, steps


def read(dataset) -> list[tuple[np.ndarray, np.ndarray]]:
    return [(images.numpy(), labels.numpy()) for images, labels in dataset]


def assert_same(ones, others):
    for (images, labels), (other_images, other_labels) in zip(ones, others, strict=True):
        np.testing.assert_array_equal(images, other_images)
        np.testing.assert_array_equal(labels, other_labels)


def test_evaluation_reads_in_order(loaded):
    examples = loaded.parts["train"]
    batches = read(pipeline.evaluation_set(examples, loaded.classes, SIZE, 4))
    assert [len(labels) for _, labels in batches] == [4, 4, 4, 4]
    assert [loaded.classes[i] for _, labels in batches for i in labels] == [example.label for example in examples]
    expected = [decode_and_resize(example.path.read_bytes(), SIZE) for example in examples]
    np.testing.assert_array_equal(np.concatenate([images for images, _ in batches]), expected)


def test_types_and_shapes(loaded):
    images, labels = pipeline.evaluation_set(loaded.parts["val"], loaded.classes, SIZE, 4).element_spec
    assert (images.dtype, labels.dtype) == (tf.float32, tf.int32)
    assert images.shape.as_list() == [None, SIZE, SIZE, 3]
    assert training(loaded, (0, 1))[0].element_spec == (images, labels)


def test_each_epoch_reads_every_image_once(loaded):
    dataset, steps = training(loaded, (0, 3), batch_size=5)
    sizes = [len(labels) for _, labels in read(dataset)]
    assert steps == 4 and sizes == [4, 4, 4, 4] * 3
    pictures = np.concatenate([images for images, _ in read(training(loaded, (0, 1))[0])])
    in_order = np.concatenate([images for images, _ in read(evaluation(loaded))])
    assert {p.tobytes() for p in pictures} == {p.tobytes() for p in in_order}


def evaluation(loaded):
    return pipeline.evaluation_set(loaded.parts["train"], loaded.classes, SIZE, 4)


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
def test_training_that_resumes_sees_what_it_would_have_seen(name, loaded):
    whole, steps = training(loaded, (0, 4), name)
    rest, _ = training(loaded, (2, 4), name)
    assert_same(itertools.islice(read(whole), 2 * steps, None), read(rest))


def test_epochs_and_seeds_have_orders_of_their_own(loaded):
    dataset, steps = training(loaded, (0, 3))
    batches = read(dataset) + read(training(loaded, (0, 1), seed=6)[0])
    epochs = [batches[i : i + steps] for i in range(0, len(batches), steps)]
    orders = {b"".join(images.tobytes() for images, _ in epoch) for epoch in epochs}
    assert len(orders) == 4


def test_fit_continues_one_iterator_over_the_epochs(loaded):
    dataset, steps = training(loaded, (1, 4))
    model = keras.Sequential([keras.layers.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    history = model.fit(dataset, initial_epoch=1, epochs=4, steps_per_epoch=steps, shuffle=False, verbose=0)
    assert history.epoch == [1, 2, 3]


def test_one_image_is_enough(loaded):
    dataset = pipeline.training_set(loaded.parts["train"][:1], loaded.classes, SIZE, 4, seed=0, epoch_range=(0, 2))
    assert [len(labels) for _, labels in read(dataset)] == [1, 1]


def test_large_seeds(loaded):
    assert len(read(training(loaded, (0, 1), "strong", seed=2**32 - 1)[0])) == 4


def test_odd_names_are_read(make_images):
    root = make_images({"a": 5, "b": 5})
    for number, odd in enumerate(["line\nbreak", "#100% ü", os.fsdecode(b"\xff"), "*?[x]"]):
        (root / "a" / f"00{number}.png").rename(root / "a" / f"{odd}.png")
    loaded = data.load(str(root))
    everything = [example for part in loaded.parts.values() for example in part]
    assert len(everything) == 10
    assert len(read(pipeline.evaluation_set(everything, loaded.classes, SIZE, 10))) == 1


def ops_in(function) -> set[str]:
    graph = function.graph.as_graph_def()
    nested = [node for inner in graph.library.function for node in inner.node_def]
    return {node.op for node in [*graph.node, *nested]}


@pytest.mark.parametrize("name", augment.AUGMENTATIONS)
def test_no_operation_has_state(name):
    """Under deterministic operations tf.data runs what has state one by one, and Python functions hold the lock."""

    @tf.function(input_signature=[tf.TensorSpec([], tf.string), tf.TensorSpec([2], tf.int64)])
    def read_one(path, seed):
        return augment.named(name)(pipeline.decode(tf.io.read_file(path), 4 * SIZE), SIZE, seed)

    ops = ops_in(read_one.get_concrete_function())
    assert {"ReadFile", "DecodeJpeg", "ScaleAndTranslate"} <= ops
    assert not [op for op in ops if op_def_registry.get(op) and op_def_registry.get(op).is_stateful]


@pytest.fixture
def image(picture):
    return tf.constant(np.asarray(picture(1, 60, 40)))


@pytest.mark.parametrize("name", ["light", "strong"])
def test_augmentation_follows_its_seed(name, image):
    change = augment.named(name)
    first = change(image, SIZE, tf.constant([1, 8], tf.int64))
    np.testing.assert_array_equal(first, change(image, SIZE, tf.constant([1, 8], tf.int64)))
    for other in ([1, 16], [2, 8]):
        assert np.abs(first - change(image, SIZE, tf.constant(other, tf.int64))).max() > 1
    assert first.shape == (SIZE, SIZE, 3) and first.dtype == tf.float32


@pytest.mark.parametrize("name", ["light", "strong"])
def test_augmented_images_stay_images(name, image):
    change = augment.named(name)
    many = np.stack([change(image, SIZE, tf.constant([0, 8 * i], tf.int64)) for i in range(64)])
    assert many.min() >= 0 and many.max() <= 255
    assert np.isfinite(many).all()


def test_half_of_the_images_are_mirrored():
    ramp = tf.broadcast_to(tf.cast(tf.range(40) * 6, tf.uint8)[None, :, None], [40, 40, 3])
    mirrored = [
        bool(image[0, 0, 0] > image[0, -1, 0])
        for image in (augment.light(ramp, SIZE, tf.constant([3, 8 * i], tf.int64)) for i in range(200))
    ]
    assert 70 < sum(mirrored) < 130


def test_changes_do_not_repeat_those_of_the_next_epoch():
    """Each change draws from a stream of its own, whatever the epoch."""
    draws = [
        tuple(tf.random.stateless_uniform([2], [epoch, 8 * index + change]).numpy())
        for epoch, index, change in itertools.product(range(3), range(3), range(1, 6))
    ]
    assert len(set(draws)) == len(draws)


def test_unknown_augmentation(loaded):
    with pytest.raises(TlkerasError, match=r"unknown augmentation. Did you mean 'strong'"):
        training(loaded, (0, 1), "stron")


def test_names_are_those_of_the_spec():
    from tlkeras.spec import AUGMENTATIONS

    assert tuple(augment.AUGMENTATIONS) == AUGMENTATIONS


def test_processes_that_share_the_batches_see_together_what_one_sees(loaded):
    examples = loaded.parts["train"]
    settings = {"seed": 3, "epoch_range": (0, 2)}
    alone = pipeline.training_set(examples, loaded.classes, SIZE, 6, **settings)
    shares = [pipeline.Share(range(0, 2), 3), pipeline.Share(range(2, 3), 3)]
    sets = [pipeline.training_set(examples, loaded.classes, SIZE, 6, **settings, share=share) for share in shares]
    whole, first, second = map(read, [alone, *sets])
    steps = len(whole) // 2
    assert len(second) == len(whole) == 2 * steps and len(first) == 2 * len(second)
    for number, (images, labels) in enumerate(whole):
        slices = [first[2 * number], first[2 * number + 1], second[number]]
        assert max(len(s[1]) for s in slices) - min(len(s[1]) for s in slices) <= 1
        np.testing.assert_array_equal(np.concatenate([s[0] for s in slices]), images)
        np.testing.assert_array_equal(np.concatenate([s[1] for s in slices]), labels)


@pytest.mark.parametrize("count, batch_size, total", [(721, 32, 4), (5, 4, 4), (33, 32, 2), (1, 8, 1), (3, 2, 4)])
def test_an_epoch_gives_each_position_to_one_replica(count, batch_size, total):
    layouts = [pipeline.Share(range(q, q + 1), total).layout(count, batch_size) for q in range(total)]
    assert sorted(np.concatenate([positions for positions, _ in layouts])) == list(range(count))
    sizes = [
        np.bincount(slices, minlength=pipeline.Share(total=total).steps(count, batch_size)) for _, slices in layouts
    ]
    assert np.sum(sizes) == count and (count < total or np.min(sizes) > 0)
