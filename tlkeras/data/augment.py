"""Random changes to training images, each decided by a seed of two numbers, so that an epoch can be repeated.

A mirrored digit or letter is another one: for such data leave augmentation at `none`, its default. Seeds of images are
8 apart in their second number; each change adds a number below 8 of its own.
"""

from __future__ import annotations

import tensorflow as tf

from tlkeras.data import images
from tlkeras.data.images import resize
from tlkeras.errors import unknown_name

# The smallest part that is cut out has about half the sides.
ENOUGH = 2 * images.ENOUGH


def none(image: tf.Tensor, image_size: int, seed: tf.Tensor) -> tf.Tensor:
    """Changes nothing: what evaluation and serving do."""
    return resize(image, image_size)


def light(image: tf.Tensor, image_size: int, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors at random and cuts out 70 % of the area or more."""
    return _flip(_random_crop(image, image_size, seed, smallest=0.7), seed)


def strong(image: tf.Tensor, image_size: int, seed: tf.Tensor) -> tf.Tensor:
    """Mirrors, cuts out 30 % of the area or more, and changes brightness, contrast and saturation by up to 30 %."""
    return _recolour(_flip(_random_crop(image, image_size, seed, smallest=0.3), seed), seed)


AUGMENTATIONS = {"none": none, "light": light, "strong": strong}


def named(name: str):
    """Gives the augmentation of a name: a function of a decoded uint8 image, the image size and a seed of two numbers.

    Raises:
        TlkerasError: The name is unknown.
    """
    if name not in AUGMENTATIONS:
        raise unknown_name("augmentation", name, AUGMENTATIONS)
    return AUGMENTATIONS[name]


def _flip(image, seed):
    return tf.image.stateless_random_flip_left_right(image, seed + [0, 1])


def _recolour(image, seed):
    """Multiplies brightness, distance from grey and distance from the mean, each by 0.7 to 1.3."""
    brightness, saturation, contrast = tf.unstack(tf.random.stateless_uniform([3], seed + [0, 3], 0.7, 1.3))
    image = image * brightness
    grey = tf.image.rgb_to_grayscale(image)
    image = grey + (image - grey) * saturation
    mean = tf.reduce_mean(grey)
    return tf.clip_by_value(mean + (image - mean) * contrast, 0.0, 255.0)


def _random_crop(image, image_size, seed, smallest):
    """Cuts a box of random area and proportions (3:4 to 4:3) and resamples it once, as Inception's training does.

    Szegedy et al., "Going Deeper with Convolutions", 2014.
    """
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    numbers = tf.random.stateless_uniform([4], seed + [0, 2])
    area = tf.reduce_min(shape) ** 2 * (smallest + (1 - smallest) * numbers[0])
    ratio = tf.exp((2 * numbers[1] - 1) * tf.math.log(4 / 3))
    sides = tf.minimum(tf.sqrt(area * tf.stack([ratio, 1 / ratio])), shape)
    corner = (shape - sides) * numbers[2:]
    return tf.clip_by_value(resize(image, image_size, tf.concat([corner, sides], 0)), 0.0, 255.0)
