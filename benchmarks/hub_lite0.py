"""EfficientNet-Lite0 with its ImageNet weights as a TF-Hub module, against the native backbone with the same weights.

    python benchmarks/hub_lite0.py make MODULE
    python benchmarks/hub_lite0.py compare FOLDER_OF_PHOTOS OUTPUT [SETTINGS OF tlkeras train ...]

`make` writes the module: saved by Keras 2, as the modules of TF-Hub were, from RGB 0..1 to the feature vector.
`compare` makes it, trains both with the same settings and prints their test accuracies. On photos of twelve kinds of
flowers in `train/`, `val/` and `test/` both gave FROZEN frozen and TUNED with `--fine-tune top:2`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tf_keras

from tlkeras import backbones, zoo


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


def compare(photos: str, output: Path, settings: list[str]) -> None:
    """Trains with both backbones, one after the other, and prints the test accuracies."""
    if not (output / "module").exists():
        make(output / "module")
    for name, backbone in (("native", "efficientnet_lite0"), ("hub", f"hub:{output / 'module'}")):
        command = [sys.executable, "-c", "from tlkeras.cli import main; main()", "train", photos, *settings]
        subprocess.run([*command, "--output", str(output / name), "--backbone", backbone], check=True)
        metrics = json.loads((output / name / "metrics.json").read_text())
        print(f"{name}: test accuracy {metrics['accuracy']['value']:.4f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["make", folder]:
            make(Path(folder))
        case ["compare", photos, output, *settings]:
            compare(photos, Path(output), settings)
        case _:
            sys.exit(__doc__)
