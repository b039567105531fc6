import keras
import numpy as np
import pytest

from tlkeras.backbones.preprocess import Preprocess, scale_and_offset
from tlkeras.errors import TlkerasError
from tlkeras.zoo import PREPROCESSES

IMAGES = np.random.default_rng(0).uniform(0, 255, (2, 5, 5, 3)).astype("float32")


def preprocess(how):
    return np.asarray(Preprocess({"preprocess": how})(IMAGES))


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_same_as_keras(mode):
    expected = keras.applications.imagenet_utils.preprocess_input(IMAGES.copy(), mode=mode)
    np.testing.assert_allclose(preprocess(mode), expected, rtol=1e-5, atol=1e-5)


def test_table_of_mean_and_std():
    np.testing.assert_allclose(preprocess({"mean": 127.0, "std": 128.0}), (IMAGES - 127) / 128, atol=1e-5)


def test_names_on_cards_are_the_names_known_here():
    for name in PREPROCESSES:
        scale_and_offset(name)
    with pytest.raises(TlkerasError) as error:
        scale_and_offset("other")
    assert all(name in str(error.value) for name in PREPROCESSES)
