"""Decoding what strangers send: whatever the bytes are, there is an answer, and never an error that fails others.

A decoder of TensorFlow that meets a damaged file fails the whole graph. Within a dataset of tf.data that ignores
errors it leaves nothing behind instead, so that each decoder runs in a dataset of one element. Core operations only.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from tlkeras.data import costly, gif, images
from tlkeras.data.check import MAX_PIXELS
from tlkeras.data.formats import BMP_HEAD, BMP_MASKS

# By the number of the kind.
_NAMES = ("image", "JPEG", "PNG", "GIF", "BMP")
NO_IMAGE = "not a JPEG, PNG, GIF or BMP file"
# Bytes of a PNG with its size, depth and colours.
_PNG_HEAD = 33
_GREY_PALETTE = b"".join(bytes([level, level, level]) for level in range(256))


def decode(image_bytes: tf.Tensor, enough: tf.Tensor, max_pixels: int = MAX_PIXELS) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes the bytes of one file as `images.decode` does, or says why not; a JPEG without its end is taken as it is.

    The size that the header announces is looked at before anything is decoded.

    Args:
        image_bytes: Scalar string.
        enough: As in `images.decode`.
        max_pixels: The most pixels that a picture may have.

    Returns:
        uint8 RGB `(height, width, 3)`, and an empty string; or `(0, 0, 3)` and one sentence.
    """
    return _traced(max_pixels)(tf.convert_to_tensor(image_bytes), tf.convert_to_tensor(enough, tf.int32))


@functools.cache
def _traced(max_pixels: int) -> tf.types.experimental.ConcreteFunction:
    def traced(image_bytes, enough):
        kind = images.kind_of(image_bytes)
        sides = _sides(kind, image_bytes)
        reason = _reason_against(kind, image_bytes, sides, max_pixels)
        image = tf.cond(
            reason == "",
            lambda: images.decode_as(kind, image_bytes, sides, enough, _attempt, recover=True),
            lambda: tf.zeros([0, 0, 3], tf.uint8),
        )
        is_damaged = (reason == "") & (tf.size(image) == 0)
        return image, tf.where(is_damaged, _damaged(kind), reason)

    signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)]
    with tf.init_scope():
        return tf.function(traced, input_signature=signature, autograph=False).get_concrete_function()


def _reason_against(kind, image_bytes, sides, max_pixels):
    pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
    width_by_height = tf.strings.join([tf.strings.as_string(sides[1]), " x ", tf.strings.as_string(sides[0])])
    large = tf.strings.join([width_by_height, f" pixels, more than the {max_pixels:,} that are decoded"])
    said_of_cost = costly.reason_against(kind, image_bytes)
    reasons = [
        (tf.strings.length(image_bytes) == 0, "empty: zero bytes"),
        (kind == images.OTHER, NO_IMAGE),
        (tf.reduce_min(sides) < 1, _damaged(kind)),
        (pixels > max_pixels, large),
        ((kind == images.BMP) & _is_misread(image_bytes), "a BMP file with a palette or compression"),
        (said_of_cost != "", said_of_cost),
    ]
    found = tf.constant("")
    for applies, reason in reversed(reasons):
        found = tf.where(applies, reason, found)
    return found


def _damaged(kind):
    return tf.gather([f"a damaged {name} file" for name in _NAMES], kind)


def _sides(kind, image_bytes):
    """Reads height and width from the header: int32 `(2,)`, zeros where it cannot be read."""
    none = tf.constant([0, 0])

    def number(begin, size, big_endian=False):
        part = tf.io.decode_raw(tf.strings.substr(image_bytes, begin, 4 * size), tf.int32, little_endian=not big_endian)
        return tf.ensure_shape(part, [size])

    def within(head, read):
        return lambda: tf.cond(tf.strings.length(image_bytes) >= head, read, lambda: none)

    def jpeg():
        return _attempt(images.jpeg_sides, image_bytes)

    readers = {
        images.OTHER: lambda: none,
        images.JPEG: jpeg,
        images.PNG: within(_PNG_HEAD, lambda: number(16, 2, big_endian=True)[::-1]),
        images.GIF: lambda: gif.sides(image_bytes),
        # A BMP whose first line is at the top has a negative height.
        images.BMP: within(BMP_HEAD, lambda: tf.abs(number(18, 2))[::-1]),
    }
    return tf.switch_case(kind, readers)


def _is_misread(bmp):
    """Says of a BMP whether TensorFlow would take the numbers of its colours for colours, its code for pixels, or one
    colour for another.
    """

    def read():
        head = tf.cast(tf.io.decode_raw(tf.strings.substr(bmp, 0, BMP_HEAD), tf.uint8), tf.int32)
        bits, compression, table = head[28], head[30], 14 + head[14]
        palette = tf.io.decode_raw(tf.strings.substr(bmp, tf.minimum(table, tf.strings.length(bmp)), 4 * 256), tf.uint8)
        palette = tf.reshape(palette[: tf.size(palette) // 4 * 4], [-1, 4])[:, :3]
        grey = tf.reshape(tf.io.decode_raw(_GREY_PALETTE, tf.uint8), [-1, 3])
        is_grey = tf.cond(
            tf.shape(palette)[0] == 256, lambda: tf.reduce_all(palette == grey), lambda: tf.constant(False)
        )
        is_masked = (compression == 3) | (compression == 6)
        is_coded = (compression > 0) & ~(is_masked & (tf.strings.substr(bmp, BMP_HEAD, len(BMP_MASKS)) == BMP_MASKS))
        return is_coded | (bits < 8) | ((bits == 8) & ~is_grey)

    is_bmp = (tf.strings.substr(bmp, 0, 2) == "BM") & (tf.strings.length(bmp) >= BMP_HEAD)
    return tf.cond(is_bmp, read, lambda: tf.constant(False))


def _attempt(decoder: Callable[[tf.Tensor], tf.Tensor], content: tf.Tensor) -> tf.Tensor:
    """Calls a decoder on a scalar string; what fails gives zeros, in each dimension that is not known of size 0."""
    signature = [tf.TensorSpec([], tf.string)]
    traced = tf.function(decoder, input_signature=signature, autograph=False).get_concrete_function()
    (result,) = traced.outputs
    kind = {"output_types": [result.dtype], "output_shapes": [result.shape]}
    # What Python adds to a dataset is for long ones: for one element, it takes longer than the decoding.
    ops = tf.raw_ops
    one = ops.TensorDataset(components=[content], output_shapes=[[]])
    decoded = ops.MapDataset(input_dataset=one, other_arguments=[], f=traced, use_inter_op_parallelism=False, **kind)
    decoded = ops.IgnoreErrorsDataset(input_dataset=decoded, log_warning=False, **kind)
    nothing = tf.zeros([size or 0 for size in result.shape], result.dtype)
    nothing = ops.TensorDataset(components=[nothing], output_shapes=[result.shape])
    either = ops.ConcatenateDataset(input_dataset=decoded, another_dataset=nothing, **kind)
    first = ops.TakeDataset(input_dataset=either, count=tf.constant(1, tf.int64), **kind)
    return ops.DatasetToSingleElement(dataset=first, **kind)[0]
