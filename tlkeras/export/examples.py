"""A few real inputs that travel with an export, made small: to prove it with anywhere, and to warm a server up."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TypeVar

from PIL import Image, ImageOps

T = TypeVar("T")
COUNT = 8
# Bytes up to which a file travels as it is.
_SMALL = 50_000
# No image, which has an answer as well.
BAD = b"this is no image"


def spread(items: Sequence[T], most: int) -> list[T]:
    """Takes up to so many items, evenly from the first to the last."""
    count = min(most, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def few(strings: Sequence[bytes], image_size: tuple[int, int] | None) -> list[bytes]:
    """Takes up to 8 files or texts, evenly from the first to the last; large pictures become JPEGs of twice the size.

    Args:
        strings: Contents of image files that can be decoded, or texts.
        image_size: (height, width) in pixels that the model takes; None for texts.
    """
    chosen = spread(strings, COUNT)
    return chosen if image_size is None else [_small(content, image_size) for content in chosen]


def _small(content: bytes, image_size: tuple[int, int]) -> bytes:
    if len(content) <= _SMALL:
        return content
    picture = ImageOps.exif_transpose(Image.open(io.BytesIO(content))).convert("RGB")
    picture.thumbnail((2 * image_size[1], 2 * image_size[0]))
    smaller = io.BytesIO()
    picture.save(smaller, "JPEG", quality=90)
    return min(content, smaller.getvalue(), key=len)
