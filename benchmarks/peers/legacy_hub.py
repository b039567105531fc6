"""The way before Keras 3: tf_keras with `hub.KerasLayer`, as in TensorFlow's tutorial "Transfer learning with TF-Hub".

    python legacy_hub.py MODULE DATA [--image-size N] [--epochs N] [--seed N]

MODULE goes from RGB 0..1 to the feature vector, as those of TF-Hub do. DATA has `train/` and `test/`.
"""

from __future__ import annotations

import argparse

import tensorflow_hub as hub
import tf_keras as keras


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("module")
    parser.add_argument("data")
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    keras.utils.set_random_seed(given.seed)

    size = (given.image_size, given.image_size)
    training, test = (
        keras.utils.image_dataset_from_directory(
            f"{given.data}/{part}", image_size=size, batch_size=32, shuffle=part == "train", seed=given.seed
        )
        for part in ("train", "test")
    )
    classes = len(training.class_names)
    to_unit = keras.layers.Rescaling(1 / 255)
    training, test = (part.map(lambda x, y: (to_unit(x), y)).prefetch(-1) for part in (training, test))

    model = keras.Sequential(
        [
            hub.KerasLayer(given.module, input_shape=(*size, 3), trainable=False),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(classes),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(training, epochs=given.epochs, validation_data=test, verbose=2)
    print(f"accuracy {model.evaluate(test, verbose=0)[1]:.4f}")


if __name__ == "__main__":
    main()
