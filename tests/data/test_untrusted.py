"""Whatever bytes a stranger sends, there is a picture or a sentence; what is good decodes as in training."""

import io
import struct
import threading
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tlkeras.data import images, untrusted
from tlkeras.data.check import reason_against
from tlkeras.data.images import ALL


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    patches = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    return Image.fromarray(patches).resize((80, 60), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(content: bytes, **options) -> tuple[np.ndarray, str]:
    image, error = untrusted.decode(content, ALL, **options)
    return image.numpy(), error.numpy().decode()


GOOD = {
    "jpeg": (lambda image: image, "JPEG", {}),
    "jpeg cmyk": (lambda image: image.convert("CMYK"), "JPEG", {}),
    "jpeg turned": (
        lambda image: image,
        "JPEG",
        {"exif": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"},
    ),
    "png": (lambda image: image, "PNG", {}),
    "png of 1 bit": (lambda image: image.convert("1"), "PNG", {}),
    "png with alpha": (lambda image: image.convert("RGBA").rotate(30), "PNG", {}),
    "bmp": (lambda image: image, "BMP", {}),
    "bmp grey": (lambda image: image.convert("L"), "BMP", {}),
    "gif": (lambda image: image.convert("P"), "GIF", {}),
    "gif with a comment": (lambda image: image.convert("P"), "GIF", {"comment": b"x" * 3000}),
}


@pytest.mark.parametrize("kind", GOOD)
def test_what_is_good_decodes_as_in_training(picture, kind):
    convert, suffix, options = GOOD[kind]
    content = encoded(convert(picture), suffix, **options)
    image, error = decode(content)
    assert error == ""
    np.testing.assert_array_equal(image, images.decode(content, ALL))


def test_of_an_animation_the_first_frame_alone_is_decoded(picture):
    frames = [picture.rotate(angle).convert("P") for angle in (10, 20, 30)]
    content = encoded(picture.convert("P"), "GIF", save_all=True, append_images=frames)
    alone = encoded(picture.convert("P"), "GIF")
    np.testing.assert_array_equal(decode(content)[0], decode(alone)[0])
    assert len(images.gif.first_frame(content).numpy()) < len(content) / 2


@pytest.mark.parametrize(
    ("extensions", "blocks", "size", "is_answered"),
    [
        (64, 1, 1, True),
        (65, 1, 1, False),
        (1, 2000, 255, True),
        (1, 250, 1, True),
        (1, 400, 1, False),
        (8, 250, 1, True),
    ],
)
def test_a_gif_that_is_made_to_waste_time_is_refused(picture, extensions, blocks, size, is_answered):
    comment = b"\x21\xfe" + (bytes([size]) + bytes([7]) * size) * blocks + b"\0"
    content = encoded(picture.convert("P"), "GIF")
    # Behind the screen's descriptor and its table of colours.
    begin = 13 + 3 * 2 ** (content[10] % 8 + 1)
    image, error = decode(content[:begin] + comment * extensions + content[begin:])
    assert error == ("" if is_answered else "a damaged GIF file")
    if is_answered:
        np.testing.assert_array_equal(image, decode(content)[0])


def test_pixels_in_tiny_blocks_are_refused(picture):
    content = encoded(picture.convert("P"), "GIF")
    at = content.index(b"\x2c", 13 + 3 * 2 ** (content[10] % 8 + 1)) + 11
    head, codes = content[:at], b""
    while length := content[at]:
        codes += content[at + 1 : at + 1 + length]
        at += 1 + length
    assert len(codes) > 300
    tiny = b"".join(bytes([1, code]) for code in codes)
    assert decode(head + tiny + content[at:])[1] == "a damaged GIF file"
    rows = b"".join(bytes([len(part)]) + part for part in (codes[i : i + 100] for i in range(0, len(codes), 100)))
    np.testing.assert_array_equal(decode(head + rows + content[at:])[0], decode(content)[0])


def test_a_jpeg_without_its_end_is_answered(picture):
    content = encoded(picture, "JPEG")
    image, error = decode(content[: len(content) * 3 // 4])
    assert error == ""
    np.testing.assert_array_equal(image[:20], images.decode(content, ALL)[:20])


def test_a_jpeg_that_ends_in_half_a_marker_is_answered(picture):
    # TensorFlow's decoder never comes back from one in twenty of these, unless their end is completed.
    noise = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    content = encoded(Image.fromarray(noise), "JPEG")
    cut = [content[: at + 1] for at, byte in enumerate(content) if byte == 0xFF]
    # Where the decoder does not come back, a test that waits for it would not either.
    answers = []
    thread = threading.Thread(target=lambda: answers.extend(map(decode, cut)), daemon=True)
    thread.start()
    thread.join(60)
    assert len(answers) == len(cut) and all((image.size == 0) == (error != "") for image, error in answers)


def png_bomb(width: int, height: int) -> bytes:
    """A grey picture of zeros, a thousandth of its size."""

    def chunk(name: bytes, content: bytes) -> bytes:
        check = zlib.crc32(name + content).to_bytes(4)
        return len(content).to_bytes(4) + name + content + check

    head = width.to_bytes(4) + height.to_bytes(4) + b"\x08\0\0\0\0"
    rows = zlib.compress(bytes((width + 1) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_what_is_too_large_is_not_decoded(picture):
    assert decode(png_bomb(9000, 8000))[1] == "9000 x 8000 pixels, more than the 64,000,000 that are decoded"
    for kind in ("JPEG", "PNG", "BMP"):
        assert decode(encoded(picture, kind), max_pixels=4000)[1].startswith("80 x 60 pixels, more than the 4,000")
    assert decode(encoded(picture.convert("P"), "GIF"), max_pixels=4000)[1].startswith("80 x 60 pixels")
    assert decode(encoded(picture, "PNG"), max_pixels=4800)[1] == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty: zero bytes"),
        (b"hello", untrusted.NO_IMAGE),
        (bytes(1000), untrusted.NO_IMAGE),
        (b"\xff\xd8\xff" + bytes(100), "a damaged JPEG file"),
        (b"\x89PNG", "a damaged PNG file"),
        (b"\x89PNG\r\n\x1a\n" + b"\xff" * 60, "a damaged PNG file"),
        (b"GIF89a", "a damaged GIF file"),
        (b"GIF89a" + b"\xff" * 2000, "a damaged GIF file"),
        (b"BM", "a damaged BMP file"),
        (b"BM" + b"\xff" * 100, "a BMP file with a palette or compression"),
    ],
)
def test_what_is_no_image_has_a_reason(content, message):
    image, error = decode(content)
    assert (image.shape, error) == ((0, 0, 3), message)


def test_a_bmp_that_tensorflow_misreads_is_refused(picture):
    assert decode(encoded(picture.convert("P"), "BMP"))[1] == "a BMP file with a palette or compression"
    assert decode(bmp_with(1, b""))[1] == decode(bmp_with(2, b""))[1] == "a BMP file with a palette or compression"


def bmp_with(compression: int, masks: bytes) -> bytes:
    """A BMP of 4 x 4 pixels, which a blue one is in the usual order."""
    head = struct.pack("<IiiHHIIiiII", 40, 4, 4, 1, 32, compression, 64, 0, 0, 0, 0) + masks
    return b"BM" + struct.pack("<IHHI", 14 + len(head) + 64, 0, 0, 14 + len(head)) + head + bytes([255, 0, 0, 0]) * 16


@pytest.mark.parametrize("compression", [3, 6])
def test_a_bmp_whose_colours_lie_in_another_order_is_refused(compression):
    usual, swapped = (
        struct.pack("<IIII", *masks) for masks in ((0xFF0000, 0xFF00, 0xFF, 0), (0xFF000000, 0xFF0000, 0xFF00, 0))
    )
    image, error = decode(bmp_with(compression, usual))
    assert error == "" and (image == [0, 0, 255]).all()
    assert decode(bmp_with(compression, swapped))[1] == "a BMP file with a palette or compression"
    if compression == 3:
        assert "BMP with a palette" in reason_against(bmp_with(3, swapped))
        assert reason_against(bmp_with(3, usual)) == ""


def test_no_damage_is_an_error_of_the_graph(picture):
    """Each kind cut and with bits flipped, at random: a picture or a sentence, and the same every time."""
    random = np.random.default_rng(0)
    files = [encoded(convert(picture), suffix, **options) for convert, suffix, options in GOOD.values()]
    for _ in range(20):
        for content in files:
            damaged = bytearray(content[: random.integers(1, len(content) + 1)])
            for _ in range(random.integers(0, 9)):
                damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
            image, error = decode(bytes(damaged))
            assert (image.size == 0) == (error != "")


def test_a_batch_is_answered_element_by_element(picture):
    good = encoded(picture, "JPEG")

    @tf.function
    def errors(batch):
        spec = tf.TensorSpec([], tf.string)
        return tf.map_fn(lambda one: untrusted.decode(one, ALL)[1], batch, fn_output_signature=spec)

    assert errors(tf.constant([good, b"x", good, b""])).numpy().tolist() == [
        b"",
        untrusted.NO_IMAGE.encode(),
        b"",
        b"empty: zero bytes",
    ]
