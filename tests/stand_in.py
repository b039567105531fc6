"""An export that keeps the contract with a graph so small that a check of it takes a second: it reads BMPs only."""

import io
import json
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tlkeras.export import golden, warmup
from tlkeras.export.contract import MODEL_JSON
from tlkeras.unknown import Threshold

CLASSES = ["ant", "bee", "cat", "dog", "eel", "fox", "gnu"]
# Half of the requests cannot be decoded.
UNKNOWN = Threshold("max-softmax", 0.3, 0.05)
IMAGES = [b"no image", *(np.full((4, 6, 3), i * 40, np.uint8) for i in range(4))]


def bmp(pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "BMP")
    return file.getvalue()


def write(folder: Path) -> Path:
    """Writes all of an export: the graph, and what the model says."""
    write_graph(folder)
    requests = [image if isinstance(image, bytes) else bmp(image) for image in IMAGES]
    means = np.array([np.zeros(3) if isinstance(image, bytes) else image.mean((0, 1)) for image in IMAGES])
    features = means.astype("float32") / 255
    errors = ["no image" if isinstance(image, bytes) else "" for image in IMAGES]
    about = {"classes": CLASSES, "image_size": [8, 8], "needs": [], "task": "image"}
    about |= {"serving": {"top_k": 5, "max_pixels": 1000, "temperature": 1.0, "unknown": vars(UNKNOWN)}, "card": {}}
    about |= {"metrics": {}, "data": {}, "versions": dict.fromkeys(("tlkeras", "keras", "tensorflow"), "1")}
    about |= {"created": "2026-11-29T09:00:00+00:00"}
    (folder / MODEL_JSON).parent.mkdir()
    (folder / MODEL_JSON).write_text(json.dumps(about))
    golden.write(folder, requests, features @ _kernel(), features, errors, CLASSES, 5, False, unknown=UNKNOWN)
    warmup.write(folder, requests[1], False, (8, 8))
    return folder


def write_graph(
    folder: Path, classes=CLASSES, bias: float = 0.0, threshold: float = UNKNOWN.threshold, tells=True
) -> None:
    """Writes the graph and the labels, over those that are there."""
    saved = tf.Module()
    saved.kernel = tf.Variable(_kernel())
    saved.bias = tf.Variable(np.eye(7, dtype="float32")[0] * bias)
    labels = folder.parent / "labels.txt"
    labels.write_text("".join(f"{name}\n" for name in classes))
    saved.labels = tf.saved_model.Asset(str(labels))

    def mean_of(image):
        return tf.reduce_mean(tf.cast(image, tf.float32), [0, 1]) / 255

    def pixels_of_png(one):
        sides = tf.io.decode_raw(tf.strings.substr(one, 16, 8), tf.int32, little_endian=False)
        return tf.reduce_prod(sides)

    def read(one):
        is_bmp = tf.strings.substr(one, 0, 2) == "BM"
        mean = tf.cond(is_bmp, lambda: mean_of(tf.io.decode_bmp(one, 3)), lambda: tf.zeros([3]))
        is_png = tf.strings.substr(one, 0, 4) == b"\x89PNG"
        is_large = tf.cond(is_png, lambda: pixels_of_png(one) > 1000, lambda: tf.constant(False))
        reason = tf.where(is_large, "more than the 1,000 pixels of a BMP", "no image")
        return mean, tf.where(is_bmp, "", reason)

    def read_all(images):
        specs = (tf.TensorSpec([3], tf.float32), tf.TensorSpec([], tf.string))
        return tf.map_fn(read, images, fn_output_signature=specs)

    def softmax(logits):
        return tf.nn.softmax(logits / tf.constant(1.0, name="temperature"))

    def best(means, errors):
        scores, places = tf.math.top_k(softmax(means @ saved.kernel + saved.bias), 5)
        good = errors[:, tf.newaxis] == ""
        names = tf.gather(tf.constant(classes), places)
        answer = {"classes": tf.where(good, names, ""), "scores": tf.where(good, scores, 0.0)}
        bound = tf.constant(threshold, name="threshold")
        return answer, {"is_unknown": ~good[:, 0] | (scores[:, 0] < bound)}

    def serving_default(image_bytes):
        means, errors = read_all(image_bytes)
        answer, unknown = best(means, errors)
        return answer | unknown | {"error": errors if tells else tf.zeros_like(errors)}

    def probabilities(image_bytes):
        means, errors = read_all(image_bytes)
        full = softmax(means @ saved.kernel + saved.bias)
        return {"probabilities": tf.where(errors[:, tf.newaxis] == "", full, 0.0)}

    def classify(inputs):
        feature = tf.io.FixedLenFeature([], tf.string, default_value="")
        return best(*read_all(tf.io.parse_example(inputs, {"image_bytes": feature})["image_bytes"]))[0]

    def pixels(pixels):
        means = tf.reduce_mean(tf.cast(pixels, tf.float32), [1, 2]) / 255
        answer, unknown = best(means, tf.fill(tf.shape(means)[:1], ""))
        return answer | unknown

    strings = tf.TensorSpec([None], tf.string)
    functions = {
        "serving_default": (serving_default, strings),
        "probabilities": (probabilities, strings),
        "features": (lambda image_bytes: {"features": read_all(image_bytes)[0]}, strings),
        "classify": (classify, strings),
        "pixels": (pixels, tf.TensorSpec([None, None, None, 3], tf.uint8)),
    }
    signatures = {
        name: tf.function(function, input_signature=[spec], autograph=False).get_concrete_function()
        for name, (function, spec) in functions.items()
    }
    tf.saved_model.save(saved, str(folder), signatures)
    methods = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(folder))
    methods.replace_method_name("classify", tf.compat.v1.saved_model.CLASSIFY_METHOD_NAME)
    methods.save()


def _kernel() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 7)).astype("float32") * 3
