import importlib.util
import io
from random import Random

import pytest
import tensorflow as tf
from helpers import REPOSITORY
from PIL import Image

from tlkeras.data import untrusted

SPEC = importlib.util.spec_from_file_location("serving_inputs", REPOSITORY / "benchmarks" / "serving_inputs.py")
inputs = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(inputs)


def test_every_kind_is_made(photos):
    random, images = Random(0), [photo.read_bytes() for photo in photos]
    for makers, good in ((inputs.OF_IMAGES, images), (inputs.OF_TEXTS, [b"good", b"bad"])):
        assert all(
            isinstance(make(random, good), bytes)
            for make in makers
            if make not in (inputs.bomb, inputs.slow)
            for _ in range(20)
        )
    wrong = inputs.wrong_requests("image_bytes", images[0])
    assert len(wrong) == 9
    assert all(isinstance(make(random), bytes) for make in wrong.values() for _ in range(20))


def test_a_bomb_is_a_whole_picture_of_few_bytes():
    content = inputs.bomb(Random(1), [])
    assert len(content) < 60_000
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(content))


@pytest.mark.parametrize("make", ["_scans", "_texts"])
def test_what_takes_long_is_refused(make):
    _, error = untrusted.decode(getattr(inputs, make)(), tf.constant(64))
    assert error in (b"a JPEG file of over 64 scans", b"a PNG file of over 32 texts")
