"""The one decode-and-resize: training, evaluation, prediction and serving all go through it, so they cannot differ.

Core TensorFlow operations only, so that it runs in `tf.data` and inside the signature of a SavedModel alike.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence

import tensorflow as tf

from tlkeras.data import exif, gif

# Pixels of a decoded picture for each that is wanted; with fewer, what shrinks it while decoding is seen.
ENOUGH = 2
# More than any side has.
ALL = 2**31 - 1
OTHER, JPEG, PNG, GIF, BMP = range(5)
END_OF_IMAGE = b"\xff\xd9"
_STARTS = {JPEG: b"\xff\xd8\xff", PNG: b"\x89PN", GIF: b"GIF8", BMP: b"BM"}


def decode_and_resize(image_bytes: tf.Tensor, image_size: int | tuple[int, int]) -> tf.Tensor:
    """Turns the bytes of one image file into what every model here takes.

    The aspect ratio is kept: the shorter side is fitted and the middle is cut out, as the evaluation of ImageNet
    models does. An image that has the right size already passes through unchanged.

    Args:
        image_bytes: Scalar string: a JPEG, PNG, BMP or GIF file (see `decode`).
        image_size: Side of the square, or (height, width), in pixels.

    Returns:
        float32 RGB `(height, width, 3)` in 0..255.
    """
    longer = image_size if isinstance(image_size, int) else max(image_size)
    return resize(decode(image_bytes, ENOUGH * longer), image_size)


def decode(image_bytes: tf.Tensor, enough: tf.Tensor) -> tf.Tensor:
    """Decodes one JPEG, PNG, BMP or GIF file to uint8 RGB `(height, width, 3)`, upright.

    Grey, palette and CMYK pictures become RGB, 16 bits a channel become 8, an animation gives its first frame, and a
    JPEG is turned as its EXIF orientation says. What is transparent in a PNG is shown on white, as a viewer would show
    it: the colours stored under transparent pixels are arbitrary.

    JPEGs are decoded with the accurate transform, which agrees with Pillow bit by bit; TensorFlow's default does not.

    Args:
        image_bytes: Scalar string.
        enough: A JPEG may be halved up to three times, as long as its shorter side keeps as many pixels.

    Raises:
        tf.errors.InvalidArgumentError: When the bytes are no such file, or a damaged one.
    """
    return _traced()(tf.convert_to_tensor(image_bytes), tf.convert_to_tensor(enough, tf.int32))


@functools.cache
def _traced() -> tf.types.experimental.ConcreteFunction:
    """Traces the decoding once for all that call it, from whatever thread: its branches take a third of a second."""

    def traced(image_bytes, enough):
        kind = kind_of(image_bytes)
        sides = tf.cond(kind == JPEG, lambda: jpeg_sides(image_bytes), lambda: tf.constant([ALL, ALL]))
        return decode_as(kind, image_bytes, sides, enough)

    signature = [tf.TensorSpec([], tf.string), tf.TensorSpec([], tf.int32)]
    with tf.init_scope():
        return tf.function(traced, input_signature=signature, autograph=False).get_concrete_function()


def decode_all(contents: Sequence[bytes]) -> None:
    """Decodes files and keeps nothing of them; in one call, which for small files takes longer than the decoding.

    Raises:
        tf.errors.InvalidArgumentError: Some of them are no image files, or damaged.
    """
    _traced_for_all()(tf.constant(contents, tf.string))


@functools.cache
def _traced_for_all() -> tf.types.experimental.ConcreteFunction:
    def pixels(image_bytes):
        return tf.size(_traced()(image_bytes, tf.constant(ALL)))

    def all_pixels(contents):
        return tf.map_fn(pixels, contents, fn_output_signature=tf.int32, parallel_iterations=1)

    with tf.init_scope():
        signature = [tf.TensorSpec([None], tf.string)]
        return tf.function(all_pixels, input_signature=signature, autograph=False).get_concrete_function()


def kind_of(image_bytes: tf.Tensor) -> tf.Tensor:
    """Tells by its first bytes what a file, a scalar string, is: int32, `OTHER`, `JPEG`, `PNG`, `GIF` or `BMP`."""
    found = [tf.strings.substr(image_bytes, 0, len(start)) == start for start in _STARTS.values()]
    return tf.reduce_sum(tf.cast(tf.stack(found), tf.int32) * list(_STARTS))


def jpeg_sides(image_bytes: tf.Tensor) -> tf.Tensor:
    """Reads height and width of a JPEG from its header: int32 `(2,)`."""
    return tf.io.extract_jpeg_shape(image_bytes)[:2]


def directly(decoder: Callable[[tf.Tensor], tf.Tensor], image_bytes: tf.Tensor) -> tf.Tensor:
    """Decodes so that a damaged file is an error."""
    return decoder(image_bytes)


def decode_as(
    kind: tf.Tensor,
    image_bytes: tf.Tensor,
    sides: tf.Tensor,
    enough: tf.Tensor,
    attempt: Callable = directly,
    recover: bool = False,
) -> tf.Tensor:
    """Decodes a file that is known to be of a kind, as `decode` does.

    Args:
        kind: What `kind_of` tells.
        image_bytes: Scalar string.
        sides: Height and width of a JPEG; of others they do not matter.
        enough: As in `decode`.
        attempt: Calls a decoder with the bytes, and says what comes of an error; `directly` lets it through.
        recover: Take a JPEG whose end is missing for one whose rest is grey.
    """
    decoders = {
        OTHER: lambda: attempt(_other, image_bytes),
        JPEG: lambda: _decode_jpeg(image_bytes, sides, enough, attempt, recover),
        PNG: lambda: _decode_png(image_bytes, attempt),
        GIF: lambda: attempt(_other, gif.first_frame(image_bytes)),
        BMP: lambda: attempt(_other, image_bytes),
    }
    image = tf.switch_case(kind, decoders)
    image.set_shape([None, None, 3])
    return image


def _decode_jpeg(image_bytes, sides, enough, attempt, recover):
    # The decoder never ends with a file whose last byte is the first of a marker, if it is to recover what is cut off.
    content = tf.strings.join([image_bytes, END_OF_IMAGE]) if recover else image_bytes

    def shrunk(ratio):
        def decoder(content):
            how = {"ratio": ratio, "dct_method": "INTEGER_ACCURATE", "try_recover_truncated": recover}
            return tf.io.decode_jpeg(content, channels=3, **how)

        return lambda: attempt(decoder, content)

    halvings = tf.reduce_sum(tf.cast(tf.reduce_min(sides) // [2, 4, 8] >= enough, tf.int32))
    image = tf.switch_case(halvings, [shrunk(ratio) for ratio in (1, 2, 4, 8)])
    orientation = exif.orientation(image_bytes)
    is_turned = (orientation > 1) & (tf.size(image) > 0)
    return tf.cond(is_turned, lambda: exif.upright(image, orientation), lambda: image)


def _decode_png(image_bytes, attempt):
    image = attempt(lambda content: tf.io.decode_png(content, channels=4), image_bytes)
    colours, alpha = image[..., :3], image[..., 3:]
    # Where a file has no alpha, TensorFlow fills in the largest number of its bits a channel: for 4 bits 15, not 255.
    bits = tf.minimum(tf.cast(tf.io.decode_raw(tf.strings.substr(image_bytes, 24, 1), tf.uint8)[0], tf.int32), 8)
    filled_in = tf.cast(tf.bitwise.left_shift(1, bits) - 1, tf.uint8)

    def on_white():
        # 255 * 255 + 127 is the largest number, and 16 bits hold it.
        weight = tf.cast(alpha, tf.uint16)
        return tf.cast((tf.cast(colours, tf.uint16) * weight + 255 * (255 - weight) + 127) // 255, tf.uint8)

    return tf.cond(tf.reduce_all(alpha == filled_in), lambda: colours, on_white)


def _other(image_bytes):
    return tf.io.decode_image(image_bytes, channels=3, expand_animations=False)


def resize(image: tf.Tensor, image_size: int | tuple[int, int], box: tf.Tensor | None = None) -> tf.Tensor:
    """Resamples a box of an image onto the wanted size: bilinear, with antialiasing where it shrinks.

    Args:
        image: RGB `(height, width, 3)`, values 0..255 of any number type.
        image_size: Side of the square, or (height, width), in pixels.
        box: (top, left, height, width) in pixels, fractions allowed. Without it, the largest box in the middle of the
            image that has the proportions of the target.

    Returns:
        float32 `(height, width, 3)` in 0..255.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size

    def resample():
        target = tf.constant([height, width], tf.float32)
        corner, sides = (box[:2], box[2:]) if box is not None else middle_box(image, target)
        scale = target / sides
        resampled = tf.raw_ops.ScaleAndTranslate(
            images=image[tf.newaxis],
            size=[height, width],
            scale=scale,
            translation=-corner * scale,
            kernel_type="triangle",
            antialias=True,
        )
        return resampled[0]

    if box is not None:
        resized = resample()
    else:
        fits = tf.reduce_all(tf.shape(image)[:2] == [height, width])
        resized = tf.cond(fits, lambda: tf.cast(image, tf.float32), resample)
    resized.set_shape([height, width, 3])
    return resized


def middle_box(image: tf.Tensor, target: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Finds the largest box in the middle of an image that has the proportions of the target, (height, width).

    Returns:
        Its corner (top, left) and its sides (height, width), float32, in pixels of the image.
    """
    shape = tf.cast(tf.shape(image)[:2], tf.float32)
    sides = target * tf.reduce_min(shape / target)
    return (shape - sides) / 2, sides
