import keras
import numpy as np
import pytest

from tlkeras import heads
from tlkeras.errors import TlkerasError


def pooled(pooling, features):
    inputs = keras.Input(features.shape[1:])
    return keras.Model(inputs, heads.POOLINGS[pooling]()(inputs)).predict(features, verbose=0)


def test_pooling_is_what_its_name_says():
    features = np.random.default_rng(0).uniform(0, 6, (2, 3, 5, 4)).astype("float32")
    np.testing.assert_allclose(pooled("avg", features), features.mean((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pooled("max", features), features.max((1, 2)), rtol=1e-5)
    np.testing.assert_allclose(pooled("gem", features), (features**3).mean((1, 2)) ** (1 / 3), rtol=1e-4)


def test_features_without_a_map_need_no_pooling():
    logits = heads.classify(keras.Input((7,)), ["a", "b"])
    assert logits.shape == (None, 2)


def test_another_rank_does_not_fit():
    with pytest.raises(TlkerasError, match="takes features of shape"):
        heads.classify(keras.Input((7, 7)), ["a", "b"])
