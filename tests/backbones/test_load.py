import os
import subprocess
import sys
from dataclasses import replace

import keras
import numpy as np
import pytest

from tlkeras import zoo
from tlkeras.backbones import load
from tlkeras.errors import TlkerasError

LITE0, MOBILENET = zoo.card("efficientnet_lite0"), zoo.card("mobilenet_v2")


def test_smaller_images():
    assert load(MOBILENET, "random", image_size=32).model.output_shape == (None, 1, 1, 1280)
    assert load(LITE0, "random", image_size=70).model.output_shape == (None, 3, 3, 1280)


def test_recipe_travels_with_the_model():
    model = load(LITE0, "random", 32, recipe={"head": "classify"}).model
    assert model.get_layer("preprocess").recipe == {"head": "classify"}


def test_second_model_has_the_same_layer_names(backbone):
    card = zoo.card("convnext_tiny")
    names = [layer.name for layer in load(card, "random", 32).model.layers]
    assert names == [layer.name for layer in backbone("convnext_tiny").model.layers]


def test_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = load(zoo.card("efficientnet_v2_b0"), "random", 32).model
    finally:
        keras.config.set_dtype_policy("float32")
    assert model(np.zeros((1, 32, 32, 3))).dtype == "float16"
    assert model.get_layer("stem_conv").kernel.dtype == "float32"


@pytest.mark.parametrize(
    ("card", "size", "message"),
    [
        (LITE0, 31, "32 pixels a side or more. Received: 31"),
        (replace(MOBILENET, source="keras:InceptionV3"), 40, "40 pixels a side are too small .* at least 75x75"),
        (replace(MOBILENET, source="keras:MobileNetV9"), 32, "Did you mean 'MobileNetV2'"),
        (replace(LITE0, family="efficientnet_light"), 32, "Did you mean 'efficientnet_lite'"),
        (replace(LITE0, parameters=3_413_025), 32, "'parameters' of an EfficientNet-Lite.* Did you mean '3413024'"),
    ],
)
def test_what_cannot_be_built(card, size, message):
    with pytest.raises(TlkerasError, match=message):
        load(card, "random", size)


def test_no_model_hub(tmp_path):
    """Port 9 answers nobody and Keras' cache is empty, so that the download fails whatever machine this is."""
    away = dict.fromkeys(("https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    program = "from tlkeras import zoo, backbones; backbones.load(zoo.card('mobilenet_v2'))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **away, "KERAS_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stderr.splitlines()[-1]
    for part in ("'mobilenet_v2' could not be fetched", "--weights FILE", "--weights random", "efficientnet_lite0"):
        assert part in said
