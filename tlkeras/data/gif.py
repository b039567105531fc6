"""The first frame of a GIF, found with TensorFlow operations.

TensorFlow's decoder reads all frames of a file even where one is asked for, so that a small animation could take much
memory. Here a file ends, for the decoder, behind its first frame. GIF89a Specification, sections 17 to 27.
"""

from __future__ import annotations

import tensorflow as tf

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, b"\x3b"
_SCREEN, _DESCRIPTOR = 13, 10
# Extensions before the first frame; a file with more was made to waste time.
_MOST_EXTENSIONS = 64
# Blocks that are passed in one turn of a loop, whose turns take longer than what is in them.
_STRIDE = 8
# Blocks are of 255 bytes, as a rule. Where so many turns found less than so many bytes for each block, they are to take
# time. A text that stands in a file as if it were blocks, as XMP does, gives as many as its spaces: 32.
_FREE_TURNS, _LEAST_BYTES = 32, 32


def first_frame(content: tf.Tensor) -> tf.Tensor:
    """Cuts a GIF file, a scalar string, behind its first frame; gives it as it is where no end of that is found."""
    values, start = _first_image(content)

    def cut():
        # Behind the descriptor there are a table of colours, where it says so, and the code size of what follows.
        data = start + _DESCRIPTOR + _colours(values[start + _DESCRIPTOR - 1]) + 1
        return tf.strings.substr(content, 0, _behind_blocks(values, data)) + _TRAILER

    return tf.cond(start >= 0, cut, lambda: content)


def sides(content: tf.Tensor) -> tf.Tensor:
    """Reads height and width of the first frame of a GIF file: int32 `(2,)`, zeros where it has none."""
    values, start = _first_image(content)

    def read():
        low_and_high = tf.reshape(values[start + 5 : start + 9], [2, 2])
        return tf.reduce_sum(low_and_high * [1, 256], axis=1)[::-1]

    return tf.cond(start >= 0, read, lambda: tf.constant([0, 0]))


def _first_image(content: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Gives the bytes as int32, a zero behind them, and where the first frame is described; -1 where there is none."""
    # The zero behind the last byte ends any row of blocks.
    values = tf.concat([tf.cast(tf.io.decode_raw(content, tf.uint8), tf.int32), [0]], 0)
    size = tf.size(values) - 1

    def is_extension(position):
        return (position + 2 < size) & (tf.gather(values, position) == _EXTENSION)

    def found():
        start = tf.minimum(_SCREEN + _colours(values[10]), size)
        bound = {"maximum_iterations": _MOST_EXTENSIONS}
        (start,) = tf.while_loop(is_extension, lambda at: (_behind_blocks(values, at + 2),), (start,), **bound)
        is_image = (start + _DESCRIPTOR < size) & (tf.gather(values, start) == _IMAGE)
        return tf.where(is_image, start, -1)

    return values, tf.cond(size > _SCREEN, found, lambda: tf.constant(-1))


def _colours(flags: tf.Tensor) -> tf.Tensor:
    """Bytes of the table of colours that a byte of flags announces."""
    return tf.where(flags >= 128, 3 * tf.bitwise.left_shift(2, flags % 8), 0)


def _behind_blocks(values: tf.Tensor, start: tf.Tensor) -> tf.Tensor:
    """Finds the end of a row of blocks, each of which begins with its length; one of length 0 is the last.

    Gives 0, where neither an extension nor an image begins, for blocks that are there to take time.
    """
    size = tf.size(values) - 1
    start = tf.minimum(start, size)

    def step(position, turns):
        for _ in range(_STRIDE):
            length = tf.gather(values, position)
            # The last one is not passed.
            position = tf.minimum(position + length + tf.sign(length), size)
        return position, turns + 1

    def is_within(position, turns):
        is_fast = position - start >= (turns - _FREE_TURNS) * _STRIDE * _LEAST_BYTES
        return is_fast & (tf.gather(values, position) > 0)

    end, _ = tf.while_loop(is_within, step, (start, 0))
    return tf.where(tf.gather(values, end) > 0, 0, tf.minimum(end + 1, size))
