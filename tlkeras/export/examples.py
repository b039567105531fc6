"""A few real inputs that travel with an export, made small: to prove it with anywhere, and to warm a server up."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TypeVar

import tensorflow as tf
from PIL import ExifTags, Image, ImageOps

from tlkeras.data import images
from tlkeras.data.images import ENOUGH

T = TypeVar("T")
COUNT = 8
# Bytes up to which a file travels as it is.
_SMALL = 50_000
# The longer side, in pixels, of the odd ones; EXIF's number for a picture that lies on its side.
_SIDE, _TURNED = 64, 6
_START_OF_SCAN = b"\xff\xda"
# No image, which has an answer as well.
BAD = b"this is no image"


def spread(items: Sequence[T], most: int) -> list[T]:
    """Takes up to so many items, evenly from the first to the last."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def small(content: bytes, image_size: tuple[int, int]) -> bytes:
    """Makes a JPEG of up to twice the size that a model takes, (height, width), of a large image file."""
    if len(content) <= _SMALL:
        return content
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    picture.thumbnail((2 * image_size[1], 2 * image_size[0]))
    return min(content, _file(picture, "JPEG", quality=90), key=len)


def mixed(contents: Sequence[bytes], image_size: tuple[int, int], max_pixels: int) -> list[bytes]:
    """Makes of each image file and the next a JPEG that shows both at once, which fits no class as well as they do.

    It has the size that the model takes, (height, width); where that is more than `max_pixels`, none is made.
    """
    if math.prod(image_size) > max_pixels:
        return []
    sides = image_size[::-1]
    pictures = [
        Image.fromarray(images.decode(content, ENOUGH * max(image_size)).numpy()).resize(sides) for content in contents
    ]
    pairs = zip(pictures, pictures[1:] + pictures[:1], strict=True)
    return [_file(Image.blend(one, other, 0.5), "JPEG", quality=90) for one, other in pairs]


def mixed_texts(texts: Sequence[bytes]) -> list[bytes]:
    """Makes of each text and the next one that begins as the first and ends as the second."""
    words = [text.split() for text in texts]
    pairs = zip(words, words[1:] + words[:1], strict=True)
    return [b" ".join([*one[: (len(one) + 1) // 2], *other[len(other) // 2 :]]) for one, other in pairs]


def odd(content: bytes, image_size: tuple[int, int], max_pixels: int) -> list[tuple[bytes, bytes]]:
    """Makes of one image file others that the graph decodes in ways of their own.

    They are small: a transparent PNG, a GIF, a BMP, a JPEG to be turned, one to be halved while it is decoded, and one
    that is cut off.

    Args:
        content: The file.
        image_size: (height, width) in pixels that the model takes.
        max_pixels: What has more is left out.

    Returns:
        Each file, and one that shows the same and that any decoder reads: the same but for what is cut off.
    """
    picture = Image.fromarray(images.decode(content, ENOUGH * max(image_size)).numpy())
    picture.thumbnail((_SIDE, _SIDE))
    transparent = picture.copy()
    transparent.putalpha(Image.linear_gradient("L").resize(picture.size))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = _TURNED
    side = 2 * ENOUGH * max(image_size)
    # However small the picture is, most of the file is pixels.
    whole = _file(picture.resize((_SIDE, _SIDE)), "JPEG", quality=90)
    made = [
        _file(transparent, "PNG"),
        _file(picture, "GIF"),
        _file(picture, "BMP"),
        _file(picture, "JPEG", quality=90, exif=turned),
        _file(picture.resize((side, side)), "JPEG", quality=60),
    ]
    pairs = [(one, one) for one in made] + [_cut(whole)]
    return [(one, shown) for one, shown in pairs if math.prod(Image.open(io.BytesIO(one)).size) <= max_pixels]


def _cut(jpeg: bytes) -> tuple[bytes, bytes]:
    """Cuts a JPEG in the middle of its pixels; gives it, and what is left of the picture, the rest grey, as a PNG."""
    cut = jpeg[: (jpeg.rindex(_START_OF_SCAN) + len(jpeg)) // 2]
    how = {"channels": 3, "dct_method": "INTEGER_ACCURATE", "try_recover_truncated": True}
    left = tf.io.decode_jpeg(cut + images.END_OF_IMAGE, **how).numpy()
    return cut, _file(Image.fromarray(left), "PNG")


def _file(picture: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()
