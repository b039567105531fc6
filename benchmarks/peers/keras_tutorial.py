"""The Keras way: keras.io/guides/transfer_learning, with photos from a folder.

    python keras_tutorial.py train BASE DATA [--image-size N] [--epochs N] [--seed N] [--unfreeze PREFIXES] ...
    python keras_tutorial.py predict MODEL DATA [--image-size N]

DATA has `train/` and `test/` with a folder for each class in both. As people do, `fit` validates on the test photos
each epoch, and `evaluate` has the last word. `--unfreeze` trains the layers with these prefixes as well, but for
BatchNorm. The guide says nothing of XLA, which Keras then takes; `--no-xla` does without.
"""

from __future__ import annotations

import argparse

import keras
import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("train", "predict"))
    parser.add_argument("model")
    parser.add_argument("data")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--unfreeze", nargs="*", default=[])
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--no-xla", action="store_true")
    given = parser.parse_args()
    keras.utils.set_random_seed(given.seed)
    accuracy = train(given) if given.what == "train" else predict(given)
    print(f"accuracy {accuracy:.4f}")


def photos(given, part: str, shuffle: bool):
    """Reads a part as the tutorial does."""
    return keras.utils.image_dataset_from_directory(
        f"{given.data}/{part}",
        label_mode="int",
        image_size=(given.image_size, given.image_size),
        batch_size=32,
        shuffle=shuffle,
        seed=given.seed,
    )


def train(given) -> float:
    """Trains a new head, and gives the test accuracy."""
    training, test = photos(given, "train", True), photos(given, "test", False)
    classes = len(training.class_names)
    training, test = training.prefetch(-1), test.prefetch(-1)

    base = keras.models.load_model(given.model)
    base.trainable = False
    for layer in base.layers:
        if layer.name.startswith(tuple(given.unfreeze)) and not isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = True
    inputs = keras.Input(shape=(given.image_size, given.image_size, 3))
    x = base(inputs, training=False)
    x = keras.layers.GlobalAveragePooling2D()(x)
    x = keras.layers.Dropout(0.2)(x)
    model = keras.Model(inputs, keras.layers.Dense(classes)(x))
    model.compile(
        optimizer=keras.optimizers.Adam(given.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
        jit_compile=False if given.no_xla else "auto",
    )
    model.fit(training, epochs=given.epochs, validation_data=test, verbose=2)
    return model.evaluate(test, verbose=0)[1]


def predict(given) -> float:
    """Names the class of each photo in both parts, and gives the share of right ones."""
    both = [photos(given, part, False) for part in ("train", "test")]
    model = keras.models.load_model(given.model)
    images = both[0].concatenate(both[1]).map(lambda image, _: image)
    named = model.predict(images.prefetch(-1), verbose=0).argmax(1)
    folders = [path.split("/")[-2] for part in both for path in part.file_paths]
    return float(np.mean([both[0].class_names[best] == folder for best, folder in zip(named, folders, strict=True)]))


if __name__ == "__main__":
    main()
