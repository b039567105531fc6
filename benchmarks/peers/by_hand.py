"""The limit: the features of each photo once, on one engine, then logistic regression; no tool around it.

    python by_hand.py train ENGINE MODEL DATA [--image-size N] [--bfloat16]
    python by_hand.py predict ENGINE MODEL DATA [--image-size N] [--bfloat16]

ENGINE is tensorflow, openvino or onnxruntime. MODEL is a `.keras` file, which is converted within the process where the
engine is another one; or a file of that engine, and then nothing of TensorFlow is imported. `train` takes a model to
features, `predict` one to probabilities. DATA has `train/` and `test/` with a folder for each class in both.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

BATCH = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("train", "predict"))
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model")
    parser.add_argument("data", type=Path)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--bfloat16", action="store_true")
    given = parser.parse_args()
    files = {part: sorted((given.data / part).glob("*/*")) for part in ("train", "test")}
    classes = sorted({path.parent.name for path in files["train"]})
    labels = {part: np.array([classes.index(path.parent.name) for path in files[part]]) for part in files}
    found = ENGINES[given.engine](given, files["train"] + files["test"])
    if given.what == "predict":
        right = found.argmax(1) == np.concatenate([labels["train"], labels["test"]])
        print(f"accuracy {right.mean():.4f}")
        return
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    count = len(files["train"])
    # As it comes, C = 1 without scaling, it takes several times as long and names fewer photos rightly.
    head = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=1000))
    head.fit(found[:count], labels["train"])
    print(f"accuracy {head.score(found[count:], labels['test']):.4f}")


def read(path: Path, size: int) -> np.ndarray:
    """Gives an image as uint8 `(size, size, 3)`."""
    image = Image.open(path).convert("RGB")
    return np.asarray(image if image.size == (size, size) else image.resize((size, size), Image.Resampling.BILINEAR))


def batches(files: list[Path], size: int):
    """Reads batches of float32 `(batch, size, size, 3)`, a few ahead, in threads beside the engine."""

    def batch(start: int) -> np.ndarray:
        return np.stack([read(path, size) for path in files[start : start + BATCH]]).astype(np.float32)

    with ThreadPoolExecutor(2) as threads:
        starts = iter(range(0, len(files), BATCH))
        waiting = [threads.submit(batch, start) for start in islice(starts, 4)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [threads.submit(batch, start) for start in islice(starts, 1)]


def with_tensorflow(given, files: list[Path]) -> np.ndarray:
    """Runs Keras' `predict` over photos that tf.data reads."""
    import tensorflow as tf

    def read_photo(path):
        image = tf.io.decode_image(tf.io.read_file(path), channels=3, expand_animations=False)
        image = tf.image.resize(image, (given.image_size, given.image_size))
        return tf.ensure_shape(image, (given.image_size, given.image_size, 3))

    paths = tf.data.Dataset.from_tensor_slices([str(path) for path in files])
    photos = paths.map(read_photo, tf.data.AUTOTUNE).batch(BATCH).prefetch(tf.data.AUTOTUNE)
    return _keras_model(given).predict(photos, verbose=0)


def with_openvino(given, files: list[Path]) -> np.ndarray:
    """Runs OpenVINO on requests side by side, as many as it takes for the best throughput."""
    import openvino

    core = openvino.Core()
    model = given.model
    if Path(model).suffix == ".keras":
        import convert

        model = convert.to_openvino(_keras_model(given))
    precision = openvino.Type.bf16 if given.bfloat16 else openvino.Type.f32
    settings = {"PERFORMANCE_HINT": "THROUGHPUT", "INFERENCE_PRECISION_HINT": precision}
    found: dict[int, np.ndarray] = {}
    queue = openvino.AsyncInferQueue(core.compile_model(model, "CPU", settings))
    queue.set_callback(lambda request, number: found.update({number: request.get_output_tensor(0).data.copy()}))
    for number, photos in enumerate(batches(files, given.image_size)):
        queue.start_async([photos], number)
    queue.wait_all()
    return np.concatenate([found[number] for number in range(len(found))])


def with_onnxruntime(given, files: list[Path]) -> np.ndarray:
    """Runs ONNX Runtime batch by batch."""
    import onnxruntime

    model = given.model
    if Path(model).suffix == ".keras":
        import convert

        model = convert.to_onnx(_keras_model(given))
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    (given_to,) = (node.name for node in session.get_inputs())
    return np.concatenate([session.run(None, {given_to: photos})[0] for photos in batches(files, given.image_size)])


def _keras_model(given):
    import keras

    model = keras.models.load_model(given.model, compile=False)
    if given.what == "predict":
        return model
    return keras.Model(model.input, keras.layers.GlobalAveragePooling2D()(model.output))


ENGINES: dict[str, Callable] = {
    "tensorflow": with_tensorflow,
    "openvino": with_openvino,
    "onnxruntime": with_onnxruntime,
}

if __name__ == "__main__":
    main()
