"""The one decode-and-resize agrees with Pillow on everything that people have in folders."""

import io
import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

from tlkeras.data.images import ALL, decode, decode_and_resize, resize

_as_graph = tf.function(lambda content: decode(content, ALL), input_signature=[tf.TensorSpec([], tf.string)])


def decoded(content: bytes) -> np.ndarray:
    """Decodes inside a graph, and makes sure that it is the same outside of one."""
    image = _as_graph(content).numpy()
    np.testing.assert_array_equal(image, decode(content, ALL).numpy())
    return image.astype(int)


def by_pillow(content: bytes) -> np.ndarray:
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(content)))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return np.asarray(image.convert("RGB")).astype(int)


def with_alpha(image: Image.Image) -> Image.Image:
    image = image.convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


KINDS = {
    "jpeg": (lambda image: image, "JPEG"),
    "jpeg grey": (lambda image: image.convert("L"), "JPEG"),
    "jpeg cmyk": (lambda image: image.convert("CMYK"), "JPEG"),
    "png": (lambda image: image, "PNG"),
    "png grey": (lambda image: image.convert("L"), "PNG"),
    "png grey and alpha": (lambda image: with_alpha(image).convert("LA"), "PNG"),
    "png alpha": (with_alpha, "PNG"),
    "png palette": (lambda image: image.convert("P"), "PNG"),
    "png of 1 bit": (lambda image: image.convert("1"), "PNG"),
    "png palette of 4 bits": (lambda image: image.quantize(9), "PNG"),
    "bmp": (lambda image: image, "BMP"),
    "bmp grey": (lambda image: image.convert("L"), "BMP"),
    "gif": (lambda image: image.convert("P"), "GIF"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_decodes_as_pillow_does(kind, picture, encoded):
    convert, suffix = KINDS[kind]
    content = encoded(convert(picture()), suffix)
    assert np.abs(decoded(content) - by_pillow(content)).max() <= 1


@pytest.mark.parametrize("colours", [2, 4, 16, 200])
def test_transparent_palette_is_shown_on_white(colours, picture, encoded):
    content = encoded(picture().quantize(colours), "PNG", transparency=1)
    assert np.abs(decoded(content) - by_pillow(content)).max() <= 1


def test_16_bits_become_8(encoded):
    wide = (np.arange(600, dtype=np.uint16) * 109).reshape(20, 30)
    content = encoded(Image.fromarray(wide), "PNG")
    np.testing.assert_array_equal(decoded(content), np.repeat((wide >> 8)[..., None], 3, axis=-1))


def test_animation_gives_its_first_frame(picture, encoded):
    first, second = picture(1).convert("P"), picture(2).convert("P")
    content = encoded(first, "GIF", save_all=True, append_images=[second])
    np.testing.assert_array_equal(decoded(content), np.asarray(first.convert("RGB")))


def exif(orientation: int, endian: str) -> Image.Exif:
    tags = Image.Exif()
    tags.endian = endian
    tags[0x010F], tags[0x0112], tags[0x0110] = "maker", orientation, "model"
    return tags


@pytest.mark.parametrize(("orientation", "endian"), [*itertools.product(range(10), "<>")])
def test_exif_orientation_is_applied(orientation, endian, picture, encoded):
    content = encoded(picture(), exif=exif(orientation, endian))
    np.testing.assert_array_equal(decoded(content), by_pillow(content))


def test_exif_is_found_behind_other_segments(picture, encoded):
    content = encoded(picture(), exif=exif(6, "<"))
    comment = b"\xff\xfe\x00\x10" + b"Exif\x00\x00 not me "[:14]
    assert decoded(content[:2] + comment * 3 + b"\xff" + content[2:]).shape == (40, 30, 3)


def test_garbled_exif_never_fails(picture, encoded):
    content = encoded(picture(), exif=exif(6, "<"))
    random = np.random.default_rng(0)
    begin, end = content.index(b"Exif") + 6, content.index(b"model")
    for _ in range(100):
        garbled = bytearray(content)
        for place in random.integers(begin, end, 4):
            garbled[place] = random.integers(256)
        assert set(_as_graph(bytes(garbled)).shape) == {30, 40, 3}


@pytest.mark.parametrize("size", [(40, 30), (300, 200), (200, 300), (25, 24), (24, 24), (7, 90)], ids=str)
def test_middle_is_resized_as_pillow_does(size, picture, encoded):
    content = encoded(picture(3, *size), "PNG")
    width, height = size
    side = min(size)
    box = ((width - side) / 2, (height - side) / 2, (width + side) / 2, (height + side) / 2)
    expected = Image.open(io.BytesIO(content)).resize((24, 24), Image.BILINEAR, box=box)
    assert np.abs(decode_and_resize(content, 24).numpy() - np.asarray(expected)).max() <= 1.5


def test_image_of_the_right_size_is_not_touched(picture, encoded):
    content = encoded(picture(0, 32, 32))
    image = decode_and_resize(content, 32)
    assert image.dtype == tf.float32
    np.testing.assert_array_equal(image, decoded(content))


def test_target_may_be_no_square(picture, encoded):
    assert decode_and_resize(encoded(picture()), (10, 30)).shape == (10, 30, 3)


def test_box_is_cut_out(picture):
    image = np.asarray(picture(0, 40, 30))
    cut = resize(tf.constant(image), 8, tf.constant([5.0, 10.0, 8.0, 8.0]))
    np.testing.assert_allclose(cut, image[5:13, 10:18], atol=1e-3)


def test_bytes_that_are_no_image_are_refused():
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(b"hello", ALL)


def test_runs_over_a_batch_in_a_saved_model(tmp_path, picture, encoded):
    module = tf.Module()
    module.f = tf.function(
        lambda batch: tf.map_fn(lambda one: decode_and_resize(one, 16), batch, fn_output_signature=tf.float32),
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, tmp_path)
    files = [encoded(picture(), exif=exif(6, ">")), encoded(picture(), "GIF"), encoded(with_alpha(picture()), "PNG")]
    answers = tf.saved_model.load(tmp_path).f(tf.constant(files))
    for file, answer in zip(files, answers, strict=True):
        np.testing.assert_array_equal(answer, decode_and_resize(file, 16))


@pytest.mark.parametrize(
    ("size", "shorter"), [(113, 224), (112, 224), (57, 224), (56, 112), (28, 56), (14, 28), (7, 28)]
)
def test_a_jpeg_is_halved_as_long_as_twice_the_size_is_left(flowers, size, shorter):
    content = tf.io.read_file(str(next(flowers.rglob("*.jpg"))))
    assert min(decode(content, 2 * size).shape[:2]) == shorter


def test_a_halved_jpeg_is_within_a_grey_level(flowers):
    differences = []
    for file in sorted(flowers.rglob("*.jpg"))[::40]:
        content = tf.io.read_file(str(file))
        differences.append(np.abs(decode_and_resize(content, 56) - resize(decode(content, ALL), 56)).mean())
    assert 0.1 < np.mean(differences) < 1.0 and max(differences) < 2.0
