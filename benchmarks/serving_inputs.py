"""What strangers might send: inputs that are damaged, huge or senseless, and requests that are wrong as a whole."""

from __future__ import annotations

import functools
import io
import struct
import zlib
from collections.abc import Callable
from random import Random

import numpy as np
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tlkeras.export.messages import classify_log, predict_log

Make = Callable[[Random, list[bytes]], bytes]
HUGE = 30_000


def truncated(random: Random, good: list[bytes]) -> bytes:
    content = random.choice(good)
    return content[: random.randrange(1, max(2, len(content)))]


def bits_flipped(random: Random, good: list[bytes]) -> bytes:
    content = bytearray(random.choice(good))
    for _ in range(random.choice((1, 3, 10, 100))):
        content[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(content)


def head_flipped(random: Random, good: list[bytes]) -> bytes:
    content = bytearray(random.choice(good))
    for _ in range(random.choice((1, 2, 5))):
        content[random.randrange(min(64, len(content)))] = random.randrange(256)
    return bytes(content)


def noise(random: Random, good: list[bytes]) -> bytes:
    return random.choice((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM")) + random.randbytes(
        random.choice((1, 10, 100, 10_000))
    )


def empty(random: Random, good: list[bytes]) -> bytes:
    return b""


def huge_head(random: Random, good: list[bytes]) -> bytes:
    """A picture whose header says 30,000 pixels a side, or more than there can be."""
    side = random.choice((HUGE, 2**16 - 1, 2**31 - 1))
    small = min(side, 2**16 - 1)
    bmp = struct.pack("<IHHIIiiHHIIiiII", 154, 0, 0, 54, 40, side, -side, 1, 24, 0, 0, 0, 0, 0, 0)
    return random.choice(
        (
            png(side, side, b"\0" * 100),
            b"GIF89a" + struct.pack("<HHBBB", small, small, 0, 0, 0) + gif_frame(small, small) + b";",
            b"GIF89a" + struct.pack("<HHBBB", 10, 10, 0, 0, 0) + gif_frame(small, small) + b";",
            _saved("JPEG").replace(struct.pack(">HH", 16, 16), struct.pack(">HH", small, small), 1),
            b"BM" + bmp + b"\0" * 100,
        )
    )


def bomb(random: Random, good: list[bytes]) -> bytes:
    """A whole PNG of some kilobytes: of 400 or 900 million pixels, or just few enough to be decoded."""
    return _bomb(random.choice((20_000, 20_000, HUGE, 7_900)))


def many_frames(random: Random, good: list[bytes]) -> bytes:
    side, frames = random.choice(((64, 3000), (1000, 500)))
    return b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + b"\0" * 6 + gif_frame(64, 64) * frames + b";"


def slow(random: Random, good: list[bytes]) -> bytes:
    """A file that would take a decoder a minute or 2 GB: empty scans, packed texts, tiny blocks, a long chunk."""
    return random.choice((_scans, _texts, _blocks, _long_chunk))()


def bad_text(random: Random, good: list[bytes]) -> bytes:
    return random.choice((random.randbytes(50), b"\xff\xfe\0\0", b"\0", b"\xed\xa0\x80", b"\xf0\x9f\x98"))


def huge_text(random: Random, good: list[bytes]) -> bytes:
    return random.choice(good + [b"a", "\u4e2d".encode(), b"a "]) * random.choice((1000, 20_000))


OF_IMAGES: dict[Make, float] = {truncated: 4, bits_flipped: 4, head_flipped: 3, noise: 3, empty: 1, huge_head: 3}
OF_IMAGES |= {bomb: 0.3, many_frames: 0.3, slow: 0.3}
OF_TEXTS: dict[Make, float] = {truncated: 3, bits_flipped: 3, noise: 3, empty: 1, bad_text: 3, huge_text: 0.5}


def png(width: int, height: int, content: bytes, bits: int = 8, more: bytes = b"") -> bytes:
    """A grey PNG of compressed content, with other chunks before it."""

    head = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + more + _chunk(b"IDAT", content) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def gif_frame(width: int, height: int) -> bytes:
    """A frame of few bytes."""
    return b"," + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x02\x02\x44\x01\x00"


@functools.cache
def _bomb(side: int) -> bytes:
    packer, row = zlib.compressobj(9), b"\0" * (1 + (side + 7) // 8)
    return png(side, side, b"".join([*(packer.compress(row) for _ in range(side)), packer.flush()]), bits=1)


@functools.cache
def _scans() -> bytes:
    content = _saved("JPEG", side=7_900, progressive=True)
    begin = content.rindex(b"\xff\xda")
    header = content[begin : begin + 2 + int.from_bytes(content[begin + 2 : begin + 4])]
    return content[:-2] + header * 3_400 + content[-2:]


@functools.cache
def _texts() -> bytes:
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(7_900_000), 9))
    return png(8, 8, zlib.compress(bytes(8 * 9)), more=text * 200)


@functools.cache
def _long_chunk() -> bytes:
    return png(8, 8, zlib.compress(bytes(8 * 9)), more=struct.pack(">I", 2**31 - 1) + b"tEXt" + bytes(90))


@functools.cache
def _blocks() -> bytes:
    comment = b"!\xfe" + b"\x01a" * 2_000_000 + b"\0"
    return b"GIF89a" + struct.pack("<HHBBB", 64, 64, 0x80, 0, 0) + b"\0" * 6 + comment + gif_frame(64, 64) + b";"


@functools.cache
def _saved(kind: str, side: int = 16, **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (side, side), "teal").save(file, kind, **options)
    return file.getvalue()


def wrong_requests(name: str, good: bytes) -> dict[str, Callable[[Random], bytes]]:
    """Requests that are wrong as a whole, or strange; serialised, by what is wrong with them."""

    def changed(change: Callable[[PredictionLog, Random], None]) -> Callable[[Random], bytes]:
        def make(random: Random) -> bytes:
            log = predict_log("serving_default", {name: [good]})
            change(log, random)
            return log.SerializeToString()

        return make

    def typed(log, random):
        value = random.choice((np.zeros([1], np.float32), np.zeros([2], np.int64), np.zeros([1, 8, 8, 3], np.uint8)))
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(value))

    def ranked(log, random):
        shape = random.choice(([], [1, 1], [1, 1, 1]))
        log.predict_log.request.inputs[name].CopyFrom(tf.make_tensor_proto(np.full(shape, good, object), tf.string))

    def sized(log, random):
        dimension = log.predict_log.request.inputs[name].tensor_shape.dim[0]
        dimension.size = random.choice((-1, 2**40, 2**62, 1000, 3))

    def signed(log, random):
        log.predict_log.request.model_spec.signature_name = random.choice(("", "nothing", "classify", "pixels", "\0"))
        if not log.predict_log.request.model_spec.signature_name:
            log.predict_log.request.inputs["other"].CopyFrom(log.predict_log.request.inputs[name])
            del log.predict_log.request.inputs[name]

    def flipped(random: Random) -> bytes:
        content = bytearray(predict_log("serving_default", {name: [good]}).SerializeToString())
        for _ in range(random.choice((1, 3, 10))):
            content[random.randrange(min(len(content), 200))] ^= 1 << random.randrange(8)
        return bytes(content)

    def cut(random: Random) -> bytes:
        content = predict_log("serving_default", {name: [good]}).SerializeToString()
        return content[: random.randrange(len(content))]

    def example(random: Random) -> bytes:
        kind = random.choice((tf.train.Feature(int64_list=tf.train.Int64List(value=[1])), tf.train.Feature()))
        return classify_log(
            "classify", [tf.train.Example(features=tf.train.Features(feature={name: kind}))]
        ).SerializeToString()

    def pixels(random: Random) -> bytes:
        shape = random.choice(((1, 0, 0, 3), (0, 5, 5, 3), (1, 1, 1, 3), (2, 1, 3000, 3), (1, 5, 5, 4), (5, 5, 3)))
        return predict_log("pixels", {"pixels": np.full(shape, 7, np.uint8)}).SerializeToString()

    return {
        "wrong type": changed(typed),
        "wrong rank": changed(ranked),
        "wrong shape": changed(sized),
        "wrong signature or name": changed(signed),
        "flipped protocol bits": flipped,
        "cut protocol message": cut,
        "protocol noise": lambda random: random.randbytes(random.choice((0, 1, 20, 1000))),
        "example without it": example,
        "strange pixels": pixels,
    }
