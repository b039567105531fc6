"""An export of the contract with `error` and `is_unknown`, in few lines; to be replaced by `savedmodel.export`."""

import json
from pathlib import Path

import keras
import tensorflow as tf

from tlkeras.data.images import decode_and_resize

_STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"GIF8")


def export(model: keras.Model, folder: Path, threshold: float | None = None) -> Path:
    """Writes version 1; what does not begin as a JPEG, PNG, BMP or GIF does gets an error of its own."""
    classes, size = model.get_layer("logits").classes, tuple(model.input_shape[1:3])
    module = tf.Module()
    module.model = model

    def read(one):
        good = tf.reduce_any([tf.strings.substr(one, 0, len(start)) == start for start in _STARTS])
        blank = lambda: tf.zeros([*size, 3])  # noqa: E731
        return tf.cond(good, lambda: decode_and_resize(one, size), blank), tf.where(good, "", "it is no image")

    def run(image_bytes):
        specs = (tf.TensorSpec([*size, 3], tf.float32), tf.TensorSpec([], tf.string))
        images, errors = tf.map_fn(read, image_bytes, fn_output_signature=specs)
        good = (errors == "")[:, tf.newaxis]
        probabilities = tf.nn.softmax(model(images, training=False))
        return tf.where(good, probabilities, tf.zeros_like(probabilities)), errors, good

    def serving_default(image_bytes):
        probabilities, errors, good = run(image_bytes)
        scores, best = tf.math.top_k(probabilities, min(5, len(classes)))
        names = tf.where(good, tf.gather(tf.constant(classes), best), "")
        answer = {"classes": names, "scores": scores, "error": errors}
        return answer if threshold is None else {**answer, "is_unknown": scores[:, 0] < threshold}

    def classify(inputs):
        parsed = tf.io.parse_example(inputs, {"image_bytes": tf.io.FixedLenFeature([], tf.string, "")})
        answer = serving_default(parsed["image_bytes"])
        return {name: answer[name] for name in ("classes", "scores")}

    strings = [tf.TensorSpec([None], tf.string, "image_bytes")]
    signatures = {
        "serving_default": tf.function(serving_default, strings),
        "probabilities": tf.function(lambda image_bytes: {"probabilities": run(image_bytes)[0]}, strings),
        "classify": tf.function(classify, [tf.TensorSpec([None], tf.string, "inputs")]),
    }
    path = folder / "1"
    tf.saved_model.save(module, str(path), {name: one.get_concrete_function() for name, one in signatures.items()})
    methods = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(str(path))
    methods.replace_method_name("classify", "tensorflow/serving/classify")
    methods.save()
    about = {"task": "image", "classes": classes, "card": {"task": "image"}, "needs": []}
    (path / "assets.extra").mkdir()
    (path / "assets.extra" / "model.json").write_text(json.dumps(about))
    return path
