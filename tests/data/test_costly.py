import io
import random
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tlkeras.data import costly, untrusted
from tlkeras.data.check import reason_against


def jpeg(more_scans: int = 0, **options) -> bytes:
    """A grey picture; an empty scan is the header of one alone."""
    file = io.BytesIO()
    Image.fromarray(np.full((40, 40, 3), 90, np.uint8)).save(file, "JPEG", **options)
    content = file.getvalue()
    begin = content.rindex(b"\xff\xda")
    header = content[begin : begin + 2 + int.from_bytes(content[begin + 2 : begin + 4])]
    return content[:-2] + header * more_scans + content[-2:]


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), 90, np.uint8)).save(file, "PNG")
    made = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in chunks
    ]
    return file.getvalue()[:33] + b"".join(made) + file.getvalue()[33:]


def segment(content: bytes) -> bytes:
    return b"\xff\xe1" + (2 + len(content)).to_bytes(2) + content


def error_of(content: bytes) -> str:
    return untrusted.decode(content, tf.constant(80))[1].numpy().decode()


@pytest.mark.parametrize("options", [{"progressive": True}, {"progressive": True, "restart_marker_blocks": 1}])
def test_scans_are_counted(options):
    (few,) = (n for n in range(70) if jpeg(n, **options).count(b"\xff\xda") == costly.MOST_SCANS)
    assert error_of(jpeg(few, **options)) == reason_against(jpeg(few, **options)) == ""
    assert error_of(jpeg(few + 1, **options)) == "a JPEG file of over 64 scans"
    assert reason_against(jpeg(few + 1, **options)).startswith("in more than 64 scans, which take a decoder long")


def test_what_only_looks_like_scans_is_none():
    content, looks = jpeg(), b"\xff\xda\0\x02" * 100
    for good in (
        content + looks,
        content[:2] + segment(looks) + content[2:],
        content[:2] + segment(content) * 99 + content[2:],
    ):
        assert error_of(good) == reason_against(good) == ""


def test_what_hides_scans_does_not_help():
    many = jpeg(100)
    for bad in (many[:2] + segment(b"\xff\xd9") + many[2:], many[:2] + segment(b"") * 2000 + many[2:], many[:-2]):
        assert error_of(bad) == "a JPEG file of over 64 scans"


def test_no_bytes_are_an_error():
    draw = random.Random(0)
    for _ in range(200):
        junk = bytes(draw.choices(b"\xff\xda\xd8\xd9\x00\x01\xd0\xe0a", k=draw.randrange(2000)))
        assert costly.has_many_scans(b"\xff\xd8\xff" + junk).dtype == tf.bool


def test_texts_are_counted():
    text = b"k\0\0" + zlib.compress(bytes(1000))
    few, many = ([(b"zTXt", text), (b"iTXt", b"k\0\0\0\0\0x")] * n for n in (16, 17))
    assert error_of(png(*few)) == reason_against(png(*few)) == ""
    assert error_of(png(*many)) == "a PNG file of over 32 texts"
    assert reason_against(png(*many)) == "more than 32 texts, which take a decoder long: save it again"
    assert error_of(png(*[(b"tEXt", b"k\0x")] * 100)) == ""


@pytest.mark.parametrize("length", [100, 10_000, 2**31 - 1, 2**32 - 1])
@pytest.mark.parametrize("at", [33, -12])
def test_a_chunk_that_is_longer_than_the_file_is_seen(length, at):
    good = png()
    bad = good[:at] + length.to_bytes(4) + b"tEXt" + good[at:]
    assert costly.has_false_length(bad)
    assert error_of(bad) == "a damaged PNG file" and "PNG" in reason_against(bad)


def test_chunks_that_are_many_or_end_early_are_no_reason():
    for good in (png(*[(b"teSt", b"")] * 500), png((b"teSt", bytes(2000))), png() + b"\xff" * 50):
        assert not costly.has_false_length(good) and error_of(good) == reason_against(good) == ""
    assert not costly.has_false_length(png()[:-12])
    for size in range(45):
        assert costly.has_false_length(png()[:size]).dtype == tf.bool


def test_chunks_are_walked_alike_without_tensorflow():
    draw, good = random.Random(0), png(*[(b"teSt", b"x" * 20)] * 5)
    flipped = [bytearray(good) for _ in range(150)]
    for content in flipped:
        content[draw.randrange(8, 160)] ^= 1 << draw.randrange(8)
    tiny = [png(*[(b"teSt", b"")] * count) for count in (0, 500, 700, 5000)]
    cut = [good[:size] for size in range(8, len(good), 3)]
    walk = tf.function(costly.has_false_length, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
    told = [bool(walk(bytes(content))) for content in (*flipped, *tiny, *cut)]
    assert told == [costly.has_false_length_of(bytes(content)) for content in (*flipped, *tiny, *cut)]
    assert {*told} == {True, False}


def test_tiny_chunks_without_number_are_not_walked_through():
    assert costly.has_false_length(png(*[(b"teSt", b"")] * 20_000))
