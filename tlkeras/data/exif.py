"""The EXIF orientation of a JPEG, read and applied with TensorFlow operations, so that serving turns photos as well.

The tag is that of the Exif 2.3 standard (CIPA DC-008), section 4.6.4; the segments around it those of ITU-T T.81,
annex B. Whatever is damaged or absent counts as upright; nothing in here fails on any input.
"""

from __future__ import annotations

import tensorflow as tf

_APP1, _START_OF_SCAN, _END_OF_IMAGE = 0xE1, 0xDA, 0xD9
_ORIENTATION = 0x0112
_LITTLE_ENDIAN, _BIG_ENDIAN = b"II*\x00", b"MM\x00*"
# The Exif segment is the first or second of a file; the bound is for files that were made to waste time.
_MOST_SEGMENTS = 64
_NAME = b"Exif\x00\x00"
# Bytes up to which a search for the name takes less time than a walk through the segments, and than the decoding.
_SMALL = 2**14


def orientation(jpeg: tf.Tensor) -> tf.Tensor:
    """Reads how a JPEG file, a scalar string, wants to be turned: int32, 1 (upright, or not said) to 8."""
    small = tf.strings.length(jpeg) <= _SMALL
    # Bytes that are no UTF-8 are matched by \C alone.
    named = tf.strings.regex_full_match(tf.strings.substr(jpeg, 0, _SMALL), rb"\C*" + _NAME + rb"\C*")
    return tf.cond(small & ~named, lambda: tf.constant(1), lambda: _tagged(jpeg))


def _tagged(jpeg):
    tiff = _exif_segment(jpeg)
    order = tf.strings.substr(tiff, 0, 4)
    readable = (order == _LITTLE_ENDIAN) | (order == _BIG_ENDIAN)
    return tf.cond(readable, lambda: _tag_value(tiff, order == _BIG_ENDIAN), lambda: tf.constant(1))


def upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Turns and mirrors an image `(height, width, channels)` that was stored with the given orientation, 1 to 8."""
    image = tf.transpose(image, tf.where(orientation >= 5, [1, 0, 2], [0, 1, 2]))
    upside_down = tf.reduce_any(orientation == [3, 4, 7, 8])
    mirrored = tf.reduce_any(orientation == [2, 3, 6, 7])
    return tf.raw_ops.Reverse(tensor=image, dims=tf.stack([upside_down, mirrored, False]))


def _exif_segment(jpeg):
    """Walks the segments of a JPEG file to the one with EXIF data; returns its TIFF block, empty where none is."""
    length = tf.strings.length(jpeg)

    def more(position, found):
        return ~found & (position >= 0) & (position + 10 <= length)

    def step(position, _):
        head = tf.cast(tf.io.decode_raw(tf.strings.substr(jpeg, position, 4), tf.uint8), tf.int32)
        filler = head[1] == 0xFF
        last = (head[0] != 0xFF) | (head[1] == _START_OF_SCAN) | (head[1] == _END_OF_IMAGE)
        found = ~last & (head[1] == _APP1) & (tf.strings.substr(jpeg, position + 4, 6) == _NAME)
        skipped = tf.where(filler, 1, 2 + head[2] * 256 + head[3])
        return tf.where(last, -1, tf.where(found, position, position + skipped)), found

    position, found = tf.while_loop(more, step, (tf.constant(2), tf.constant(False)), maximum_iterations=_MOST_SEGMENTS)

    def block():
        size = tf.cast(tf.io.decode_raw(tf.strings.substr(jpeg, position + 2, 2), tf.uint8), tf.int32)
        return tf.strings.substr(jpeg, position + 10, tf.maximum(size[0] * 256 + size[1] - 8, 0))

    return tf.cond(found, block, lambda: tf.constant(b""))


def _tag_value(tiff, big_endian):
    """Looks the orientation up in the first directory of a TIFF block."""
    # Zeros behind the block make every fixed position readable; a tag of zeros is none.
    values = tf.pad(tf.cast(tf.io.decode_raw(tiff, tf.uint8), tf.int64), [[0, 16]])

    def number(digits):
        """Puts bytes, most significant last in `digits`' last axis if little endian, together."""
        powers = 256 ** tf.range(digits.shape[-1], dtype=tf.int64)
        return tf.reduce_sum(digits * tf.where(big_endian, powers[::-1], powers), axis=-1)

    size = tf.size(values, tf.int64)
    directory = tf.minimum(number(tf.ensure_shape(values[4:8], [4])), size - 2)
    count = number(tf.ensure_shape(values[directory : directory + 2], [2]))
    entries = values[directory + 2 :]
    count = tf.minimum(count, tf.size(entries, tf.int64) // 12)
    entries = tf.ensure_shape(tf.reshape(entries[: count * 12], [-1, 12]), [None, 12])
    value = tf.where(number(entries[:, :2]) == _ORIENTATION, number(entries[:, 8:10]), 0)
    value = tf.cast(tf.reduce_max(tf.pad(value, [[0, 1]])), tf.int32)
    return tf.where((value >= 1) & (value <= 8), value, 1)
