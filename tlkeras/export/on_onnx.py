"""ONNX: a model as one file for ONNX Runtime and whatever else reads it, made by tf2onnx."""

from __future__ import annotations

import json
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.export.pixels import PIXELS, PROBABILITIES, Pixels
from tlkeras.features.engines import on_onnxruntime
from tlkeras.features.engines.graphs import Graph
from tlkeras.features.engines.kinds import Unsupported, installed

# What ONNX's own specification says of images, under its keys (docs/MetadataProps.md of onnx/onnx).
_IMAGES = {
    "Image.BitmapPixelFormat": "Rgb8",
    "Image.ColorSpaceGamma": "SRGB",
    "Image.NominalPixelRange": "NominalRange_0_255",
}


def check_installed() -> None:
    """Refuses where what makes and checks ONNX is not there.

    Raises:
        TlkerasError: It is not installed; the message has the pip command.
    """
    if "onnxruntime" not in installed():
        raise TlkerasError("format onnx is made by tf2onnx and checked with ONNX Runtime: pip install 'tlkeras[onnx]'")


def convert(model: keras.Model, *, temperature: float = 1.0) -> bytes:
    """Converts a model of images; the file takes any number of uint8 images and gives float32 probabilities.

    The class names stand in the file's properties, as JSON under `classes` and one a line under `labels`.

    Args:
        model: A classifier of images made by `tlkeras.build`.
        temperature: The logits are divided by it.

    Raises:
        TlkerasError: ONNX has no counterpart of something in the model.
    """
    try:
        graph = Graph(_frozen(Pixels(model, None, tf.uint8, temperature)))
        made = on_onnxruntime.converted(graph, {graph.input_name: PIXELS, graph.output_names[0]: PROBABILITIES})
    except Unsupported as error:
        raise TlkerasError(
            f"ONNX cannot take {model.name}: {in_one_line(error)}. The formats savedmodel and keras can"
        ) from error
    classes = model.get_layer("logits").classes
    about = {
        "classes": json.dumps(classes, ensure_ascii=False),
        "labels": "\n".join(" ".join(c.split("\n")) for c in classes),
    }
    for key, value in (about | _IMAGES).items():
        made.metadata_props.add(key=key, value=value)
    return made.SerializeToString()


def _frozen(pixels: Pixels) -> tf.types.experimental.ConcreteFunction:
    """Puts the variables that a TF-Hub module computes with into the graph; all others are in it."""
    # Not public, and what tf2onnx itself takes.
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    try:
        return convert_variables_to_constants_v2(pixels.concrete)
    except (ValueError, NotImplementedError, tf.errors.OpError) as error:
        raise Unsupported(str(error)) from error


def runner(content: bytes, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Loads a file with ONNX Runtime.

    Returns:
        A function that takes uint8 images `(batch, height, width, 3)` and gives float32 probabilities
        `(batch, classes)`.

    Raises:
        TlkerasError: ONNX Runtime cannot run the file.
    """
    try:
        session = on_onnxruntime.start(content, threads)
    except Unsupported as error:
        raise TlkerasError(f"ONNX Runtime cannot run what was converted: {in_one_line(error)}") from error
    return lambda images: session.run([PROBABILITIES], {PIXELS: images})[0]
