import keras
import numpy as np
import pytest

from tlkeras import zoo
from tlkeras.backbones import keras_applications
from tlkeras.backbones.preprocess import Preprocess


@pytest.mark.parametrize("name", ["convnext_tiny", "efficientnet_v2_b0"])
def test_weights_that_keras_loads_arrive_in_the_flat_model(tmp_path, name):
    """Keras takes a file in place of `imagenet`, which goes the same way without the download."""
    card = zoo.card(name)
    make = getattr(keras.applications, card.source.removeprefix("keras:"))
    original = make(include_top=False, weights=None, input_shape=(32, 32, 3))
    original.save_weights(tmp_path / "notop.weights.h5")
    image = keras.Input((32, 32, 3), name="image")
    x = Preprocess(card.to_dict(), name="preprocess")(image)
    model = keras_applications.build(x, card, str(tmp_path / "notop.weights.h5"))
    for a, b in zip(model.get_weights(), original.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_dropout_is_gone_and_nothing_is_renamed_but_what_keras_numbered(backbone):
    model = backbone("efficientnet_v2_b0").model
    assert not any(isinstance(layer, keras.layers.Dropout) for layer in model.layers)
    assert model.get_layer("block2b_drop").activation is keras.activations.linear
    assert backbone("convnext_tiny").model.layers[-1].name == "layer_normalization"
