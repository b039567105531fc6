"""What the peers start from, made beforehand with tlkeras, so that they themselves need none of it.

    python benchmarks/peers/prepare.py WORK        the backbone: Keras, OpenVINO, ONNX, a module of TF-Hub
    python benchmarks/peers/prepare.py WORK RUN    the trained model of a run, likewise

In WORK: `base-224.keras` and `base-96.keras` are EfficientNet-Lite0 with its ImageNet weights out of stock Keras
layers, from RGB 0..255 to the feature map; the files for the engines give its mean over height and width. `trained` is
the model of a run, to probabilities.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import convert
import keras

from tlkeras import backbones, weights, zoo

SIZES = (224, 96)
HUB = Path(__file__).parent.parent / "hub_lite0.py"


def prepare(work: Path) -> None:
    """Writes the backbone in all forms that are not there yet and whose packages are installed."""
    card = zoo.card("efficientnet_lite0")
    weights.fetch(card)
    for size in SIZES:
        path = work / f"base-{size}.keras"
        if not path.exists():
            _plain(backbones.load(card, image_size=size).model).save(path)
        base = keras.models.load_model(path)
        _convert(keras.Model(base.input, keras.layers.GlobalAveragePooling2D()(base.output)), work / path.stem)
    if not (work / "module").exists() and _has("tensorflow_hub") and _has("tf_keras"):
        subprocess.run([sys.executable, HUB, "make", work / "module"], check=True)


def prepare_trained(work: Path, run: Path) -> None:
    """Writes the model that tlkeras trained as one of stock layers, and for the engines."""
    model = keras.models.load_model(run / "model.keras")
    features = keras.Model(model.input, model.get_layer("dropout").input)
    plain, head = _plain(features), model.get_layer("logits")
    dense = keras.layers.Dense(head.units, activation="softmax", name="probabilities")
    whole = keras.Model(plain.input, dense(plain.output))
    dense.set_weights(head.get_weights())
    whole.save(work / "trained.keras")
    _convert(whole, work / "trained")


def _plain(model: keras.Model) -> keras.Model:
    """Makes the model again with `Rescaling` for the layer of tlkeras, and with the same weights."""

    def stock(layer: keras.layers.Layer) -> keras.layers.Layer:
        if layer.name != "preprocess":
            return type(layer).from_config(layer.get_config())
        mean, std = (layer.card["preprocess"][key] for key in ("mean", "std"))
        return keras.layers.Rescaling(1 / std, -mean / std, name="preprocess")

    plain = keras.models.clone_model(model, clone_function=stock)
    plain.set_weights(model.get_weights())
    return plain


def _convert(model: keras.Model, stem: Path) -> None:
    if _has("openvino") and not stem.with_suffix(".xml").exists():
        import openvino

        openvino.save_model(convert.to_openvino(model), stem.with_suffix(".xml"), compress_to_fp16=False)
    if _has("onnxruntime") and _has("tf2onnx") and not stem.with_suffix(".onnx").exists():
        stem.with_suffix(".onnx").write_bytes(convert.to_onnx(model))


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


if __name__ == "__main__":
    match sys.argv[1:]:
        case [folder]:
            prepare(Path(folder))
        case [folder, trained]:
            prepare_trained(Path(folder), Path(trained))
        case _:
            sys.exit(__doc__)
