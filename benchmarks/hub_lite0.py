"""EfficientNet-Lite0 with its ImageNet weights as a TF-Hub module, against the native backbone with the same weights.

    python benchmarks/hub_lite0.py make MODULE
    python benchmarks/hub_lite0.py compare FOLDER_OF_PHOTOS OUTPUT [SETTING=VALUE ...]

`make` writes the module: saved by Keras 2, as the modules of TF-Hub were, from RGB 0..1 to the feature vector.
`compare` makes it, trains both with the same settings and prints their test accuracies. On photos of twelve kinds of
flowers in `train/`, `val/` and `test/` both gave 0.9625 frozen and 0.9750 with `fine_tune=top:2 fine_tune_epochs=5`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf_keras

import tlkeras
from tlkeras import backbones, zoo
from tlkeras import spec as specs


def make(folder: Path) -> None:
    """Writes the module, and checks that it computes what the native backbone does."""
    native = backbones.load(zoo.card("efficientnet_lite0")).model
    image = tf_keras.Input((None, None, 3))
    mean, std = (native.get_layer("preprocess").card["preprocess"][key] for key in ("mean", "std"))
    values = {"preprocess": tf_keras.layers.Rescaling(255.0 / std, -mean / std)(image)}
    for layer in native.layers[2:]:
        given = [values[node.operation.name] for node in _parents(layer)]
        values[layer.name] = _in_keras2(layer)(given if len(given) > 1 else given[0])
    pooled = tf_keras.layers.GlobalAveragePooling2D()(values[native.layers[-1].name])
    module = tf_keras.Model(image, pooled, name="efficientnet_lite0")
    for layer in native.layers[2:]:
        module.get_layer(layer.name).set_weights(layer.get_weights())
    pictures = np.random.default_rng(0).uniform(0, 255, (4, 224, 224, 3)).astype("float32")
    difference = np.abs(module(pictures / 255) - keras.ops.mean(native(pictures), (1, 2))).max()
    print(f"largest difference from the native features: {difference:.1e}")
    tf.saved_model.save(module, str(folder))


def _parents(layer):
    return [tensor._keras_history for tensor in layer._inbound_nodes[0].input_tensors]


def _in_keras2(layer):
    kind, config = type(layer).__name__, layer.get_config()
    taken = {
        "Conv2D": ("filters", "kernel_size", "strides", "padding", "use_bias"),
        "DepthwiseConv2D": ("kernel_size", "strides", "padding", "use_bias"),
        "BatchNormalization": ("momentum", "epsilon"),
        "ReLU": ("max_value",),
        "Add": (),
    }[kind]
    return getattr(tf_keras.layers, kind)(name=layer.name, **{key: config[key] for key in taken})


def compare(photos: str, output: Path, settings: dict) -> None:
    """Trains with both backbones from the same head on, and prints the test accuracies."""
    if not (output / "module").exists():
        make(output / "module")
    data, card, head = tlkeras.data.load(photos), zoo.card("efficientnet_lite0"), None
    for name, backbone in (("native", "efficientnet_lite0"), ("hub", f"hub:{output / 'module'}")):
        keras.utils.set_random_seed(0)
        model = tlkeras.build(backbone, classes=data.classes, stages=card.stages)
        layers = [model.get_layer(layer) for layer in ("dropout", "logits")]
        # Which numbers a new head gets depends on how many layers were made before it.
        head = head or [[v.numpy() for v in layer.variables] for layer in layers]
        for layer, values in zip(layers, head, strict=True):
            for variable, value in zip(layer.variables, values, strict=True):
                variable.assign(value)
        run = tlkeras.train(model, data, output=output / name, **settings)
        print(f"{name}: test accuracy {run.evaluate().accuracy.value:.4f}", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder]:
            make(Path(folder))
        case ["compare", photos, output, *settings]:
            compare(photos, Path(output), specs.overrides(settings))
        case _:
            sys.exit(__doc__)
