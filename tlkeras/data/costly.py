"""Files that take a decoder long for few bytes, told before they are decoded, with TensorFlow operations.

Each scan of a progressive JPEG makes the decoder go through the whole picture, even where there is nothing in it, and
each compressed text of a PNG is unpacked and thrown away.
"""

from __future__ import annotations

import tensorflow as tf

# A progressive JPEG has about ten scans; of a picture of 64 million pixels each takes some 20 ms, even an empty one.
MOST_SCANS = 64
# They are unpacked to 8 MB each, in some 40 ms.
MOST_TEXTS = 32
# Markers that are walked through at most; what has more than enough scans has fewer of others.
_MOST_MARKERS = 512
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01


def has_many_scans(jpeg: tf.Tensor) -> tf.Tensor:
    """Says whether a JPEG file, a scalar string, is in more than `MOST_SCANS` scans."""
    values = tf.io.decode_raw(jpeg, tf.uint8)
    # The most that there can be: some are in what cameras put into a segment or behind the end, a thumbnail or a film.
    return tf.cond(_count(values, b"\xff\xda") > MOST_SCANS, lambda: _walked(values), lambda: tf.constant(False))


def has_many_texts(png: tf.Tensor) -> tf.Tensor:
    """Says whether a PNG file, a scalar string, has more than `MOST_TEXTS` texts that may be compressed."""
    # What the names of both chunks end in, zTXt and iTXt, and that of tEXt does not.
    return _count(tf.io.decode_raw(png, tf.uint8), b"TXt") > MOST_TEXTS


def _count(values: tf.Tensor, pattern: bytes) -> tf.Tensor:
    found = tf.where(values[: 1 - len(pattern)] == pattern[0])[:, 0]
    # Few bytes are the first one, and fewer the next.
    for offset, byte in enumerate(pattern[1:], start=1):
        found = tf.boolean_mask(found, tf.gather(values, found + offset) == byte)
    return tf.size(found)


def _walked(values: tf.Tensor) -> tf.Tensor:
    """Counts the scans from marker to marker. ITU-T T.81, Annex B."""
    first, second = values[:-1], tf.cast(values[1:], tf.int32)
    is_restart = (second >= 0xD0) & (second <= 0xD7)
    markers = tf.cast(tf.where((first == 0xFF) & (second > 0) & (second < 0xFF) & ~is_restart)[:, 0], tf.int32)
    # What is read behind the last byte is no length.
    values = tf.concat([tf.cast(values, tf.int32), [0, 0]], 0)

    def goes_on(number, scans):
        return (number < tf.size(markers)) & (scans <= MOST_SCANS)

    def step(number, scans):
        at = markers[number]
        kind = values[at + 1]
        is_alone = (kind == _SOI) | (kind == _TEM)
        length = tf.where(is_alone, 0, 256 * values[at + 2] + values[at + 3])
        following = tf.searchsorted(markers, [at + 2 + length])[0]
        following = tf.where(kind == _EOI, tf.size(markers), tf.maximum(following, number + 1))
        return following, scans + tf.cast(kind == _SOS, tf.int32)

    number, scans = tf.while_loop(goes_on, step, (0, 0), maximum_iterations=_MOST_MARKERS)
    return (scans > MOST_SCANS) | (number < tf.size(markers))
