"""What the bytes of a file are, and how large a picture its header announces, before anything is decoded."""

from __future__ import annotations

import io

from PIL import BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin

# What `tlkeras.data.images.decode` reads with every TensorFlow that the package allows -> Pillow's reader of headers.
# TensorFlow 2.21 decodes WebP too; 2.19 does not, and data that train here must serve there.
DECODED = {
    "JPEG": JpegImagePlugin.JpegImageFile,
    "PNG": PngImagePlugin.PngImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
}

# Where the masks of the colours lie in a BMP that has such, behind all else that is looked at; and those of pixels that
# lie there as blue, green and red, which is what TensorFlow takes them for in any case.
BMP_HEAD, BMP_MASKS = 54, b"\0\0\xff\0\0\xff\0\0\xff\0\0\0"
_NOT_CODED, _MASKED = 0, (3, 6)

_STARTS = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"BM": "BMP",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"\x00\x00\x01\x00": "ICO",
    b"8BPS": "Photoshop",
    b"%PDF-": "PDF",
    b"\xff\x0a": "JPEG XL",
    b"\x00\x00\x00\x0cJXL ": "JPEG XL",
    b"\x00\x00\x00\x0cjP  ": "JPEG 2000",
}
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND", "GIF": b"\x00;"}
_BRANDS = {b"heic": "HEIC", b"heix": "HEIC", b"hevc": "HEIC", b"mif1": "HEIC", b"avif": "AVIF", b"avis": "AVIF"}


def sniff(content: bytes) -> str:
    """Names the format that the first bytes of a file show, whatever the file is called; empty where none is known."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "WebP"
    if content[4:8] == b"ftyp":
        return _BRANDS.get(content[8:12], "")
    if b"<svg" in content[:512]:
        return "SVG"
    return next((name for start, name in _STARTS.items() if content.startswith(start)), "")


def header(kind: str, content: bytes):
    """Reads the header of a file of a decoded format, and no pixel: Pillow's image, for its size, mode and info.

    Raises:
        SyntaxError: The header is damaged; also OSError and ValueError.
    """
    # The class itself: Image.open would refuse or warn of large pictures by limits that are not ours.
    return DECODED[kind](io.BytesIO(content))


def is_plain_bmp(content: bytes) -> bool:
    """Says whether TensorFlow reads the pixels of a BMP as they are meant: not coded, and without other masks."""
    compression = content[30]
    has_usual_masks = content[BMP_HEAD : BMP_HEAD + len(BMP_MASKS)] == BMP_MASKS
    return compression == _NOT_CODED or (compression in _MASKED and has_usual_masks)


def is_truncated(kind: str, content: bytes) -> bool:
    """Says of a file that cannot be read whether that is because its end is missing."""
    return kind in _ENDS and _ENDS[kind] not in content[-1024:]
