import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tlkeras.data import images, untrusted
from tlkeras.export import examples


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (9, 300), (640, 480)])
@pytest.mark.parametrize("kind", ["flat", "noise"])
def test_of_any_picture_odd_ones_are_made_that_the_graph_answers(size, kind):
    pixels = (
        np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8) if kind == "noise" else np.zeros((*size, 3))
    )
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    made = examples.odd(file.getvalue(), (32, 32), 64_000_000)
    assert len(made) == 6
    for one, shown in made:
        found, error = untrusted.decode(one, tf.constant(64))
        assert error == ""
        np.testing.assert_array_equal(found, images.decode(shown, 64))
    cut, shown = made[-1]
    assert cut != shown and not cut.endswith(b"\xff\xd9")
    with pytest.raises(OSError, match="truncated"):
        Image.open(io.BytesIO(cut)).load()


def test_a_mixture_shows_each_picture_and_the_next():
    files = []
    for colour in ("red", "blue"):
        files.append(io.BytesIO())
        Image.new("RGB", (50, 40), colour).save(files[-1], "PNG")
    contents = [file.getvalue() for file in files]
    made = examples.mixed(contents, (16, 24), 1000)
    assert [Image.open(io.BytesIO(one)).size for one in made] == [(24, 16)] * 2
    for one in made:
        np.testing.assert_allclose(np.array(Image.open(io.BytesIO(one))).mean((0, 1)), [127, 0, 127], atol=3)
    assert examples.mixed(contents, (16, 24), 383) == []


def test_texts_are_mixed():
    assert examples.mixed_texts([b"a good film", b"", "ganz übel".encode()]) == [
        b"a good",
        "übel".encode(),
        b"ganz good film",
    ]
