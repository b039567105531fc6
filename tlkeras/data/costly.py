"""Files that take a decoder long, or much memory, for few bytes; told before, with TensorFlow operations.

Each scan of a progressive JPEG makes the decoder go through the whole picture, even where there is nothing in it. For
chunks of a PNG memory is taken and cleared by the length that they announce, even where the file ends, and each
compressed text is unpacked and thrown away.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import tensorflow as tf

from tlkeras.data import images

# A progressive JPEG has about ten scans; of a picture of 64 million pixels each takes some 20 ms, even an empty one.
MOST_SCANS = 64
# They are unpacked to 8 MB each, in some 40 ms.
MOST_TEXTS = 32
# Markers that are walked through at most; what has more than enough scans has fewer of others.
_MOST_MARKERS = 512
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
# Of a PNG: bytes before the first chunk, of the length and the name of one, of these and its checksum.
_SIGNATURE, _CHUNK_HEAD, _CHUNK = 8, 8, 12
_IEND = int.from_bytes(b"IEND")
# Chunks are of thousands of bytes, but for the last of the picture and some small ones. A place before all of them.
_FREE_CHUNKS, _LEAST_BYTES, _TOO_LONG = 512, 64, -(2**30)


def reason_against(kind: tf.Tensor, image_bytes: tf.Tensor) -> tf.Tensor:
    """Says of a file, a scalar string of a kind of `tlkeras.data.images`, if it is such a one; else an empty string."""

    def said(tells: Callable[[tf.Tensor], tf.Tensor], reason: str) -> tf.Tensor:
        return tf.where(tells(image_bytes), reason, "")

    def png():
        length = said(has_false_length, "a damaged PNG file")
        return tf.where(length == "", said(has_many_texts, f"a PNG file of over {MOST_TEXTS} texts"), length)

    readers = {images.JPEG: lambda: said(has_many_scans, f"a JPEG file of over {MOST_SCANS} scans"), images.PNG: png}
    others = (images.OTHER, images.GIF, images.BMP)
    return tf.switch_case(kind, readers | dict.fromkeys(others, lambda: tf.constant("")))


def has_many_scans(jpeg: tf.Tensor) -> tf.Tensor:
    """Says whether a JPEG file, a scalar string, is in more than `MOST_SCANS` scans."""
    values = tf.io.decode_raw(jpeg, tf.uint8)
    # The most that there can be: some are in what cameras put into a segment or behind the end, a thumbnail or a film.
    return tf.cond(_count(values, b"\xff\xda") > MOST_SCANS, lambda: _walked(values), lambda: tf.constant(False))


def has_many_texts(png: tf.Tensor) -> tf.Tensor:
    """Says whether a PNG file, a scalar string, has more than `MOST_TEXTS` texts that may be compressed."""
    # What the names of both chunks end in, zTXt and iTXt, and that of tEXt does not.
    return _count(tf.io.decode_raw(png, tf.uint8), b"TXt") > MOST_TEXTS


def has_false_length(png: tf.Tensor) -> tf.Tensor:
    """Says whether a chunk of a PNG file, a scalar string, is longer than what is left of it, or a great many are tiny.

    PNG Specification, "Chunk layout".
    """
    size = tf.strings.length(png)

    def goes_on(at, turns):
        return (at >= (turns - _FREE_CHUNKS) * _LEAST_BYTES) & (at <= size - _CHUNK_HEAD)

    def step(at, turns):
        length, name = tf.unstack(tf.io.decode_raw(tf.strings.substr(png, at, _CHUNK_HEAD), tf.int32, False), num=2)
        fits = (length >= 0) & (length <= size - _CHUNK - at)
        return tf.where(name == _IEND, size, tf.where(fits, at + _CHUNK + length, _TOO_LONG)), turns + 1

    at, _ = tf.while_loop(goes_on, step, (_SIGNATURE, 0))
    return at <= size - _CHUNK_HEAD


def has_false_length_of(png: bytes) -> bool:
    """Says the same without TensorFlow, for what is asked of every file."""
    at, turns = _SIGNATURE, 0
    while (turns - _FREE_CHUNKS) * _LEAST_BYTES <= at <= len(png) - _CHUNK_HEAD:
        length, name = struct.unpack_from(">II", png, at)
        if name == _IEND:
            return False
        if length > len(png) - _CHUNK - at:
            return True
        at, turns = at + _CHUNK + length, turns + 1
    return at <= len(png) - _CHUNK_HEAD


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
