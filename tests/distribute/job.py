"""What the tests let one worker or several do: train small models in every way, and write down what came out."""

import gc
import json
import os
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tlkeras

ROWS, CHECKS, BATCH, EPOCHS = 37, 11, 8, 3


def numbers(rows, seed):
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 6)).astype("float32")
    return x, (x[:, 0] + x[:, 1] ** 2 > 0.8).astype("float32")[:, None]


def pictures(rows, seed):
    x = np.random.default_rng(seed).normal(size=(rows, 6, 6, 2)).astype("float32")
    return x, (x[:, :3].mean((1, 2, 3)) > 0).astype("float32")[:, None]


def dense():
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(8, "tanh", kernel_regularizer="l2")(inputs)
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(hidden))


def sequential():
    return keras.Sequential([keras.layers.Dense(8, "tanh"), keras.layers.Dense(1, "sigmoid")])


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.hidden, self.out = keras.layers.Dense(8, "tanh"), keras.layers.Dense(1, "sigmoid")

    def call(self, x):
        return self.out(self.hidden(x))


class OwnStep(Subclassed):
    def train_step(self, data):
        return super().train_step(data)


def convolutional(**normalization):
    inputs = keras.Input((6, 6, 2))
    x = keras.layers.Conv2D(3, 3, use_bias=False)(inputs)
    x = keras.layers.BatchNormalization(momentum=0.8, **normalization)(x)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.ReLU()(x))
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(x))


def two_heads():
    inputs = keras.Input((6,))
    hidden = keras.layers.Dense(8, "tanh")(inputs)
    heads = [keras.layers.Dense(1, "sigmoid", name=name)(hidden) for name in ("a", "b")]
    return keras.Model(inputs, dict(zip("ab", heads, strict=True)))


def embedded():
    inputs = keras.Input((3,), dtype="int32")
    x = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(7, 4)(inputs))
    return keras.Model(inputs, keras.layers.Dense(1, "sigmoid")(x))


def strategy():
    return tf.distribute.MultiWorkerMirroredStrategy() if "TF_CONFIG" in os.environ else tf.distribute.get_strategy()


def slices(x, *others, batch=BATCH, shuffle=False, by="share"):
    """Distributes a dataset by hand: every worker makes its slice of each global batch, of whatever size."""

    def make(context):
        many, index = context.num_input_pipelines, context.input_pipeline_id
        data = tf.data.Dataset.from_tensor_slices((x, *others))
        data = data.shuffle(len(x), seed=7) if shuffle else data

        def take(*parts):
            rows = tf.shape(parts[0])[0]
            # The first gets all but one for each other, so that small batches leave some with none.
            cut = [max(rows - (many - 1), 0) if i == 0 else 1 for i in range(many)] if by == "first" else None
            start, stop = rows * index // many, rows * (index + 1) // many
            return tuple(part[start:stop] for part in parts)

        return data.batch(batch).map(take)

    return strategy_now.distribute_datasets_from_function(make)


def dataset(x, *others, batch=BATCH, shuffle=False):
    data = tf.data.Dataset.from_tensor_slices((x, *others))
    return (data.shuffle(len(x), seed=7) if shuffle else data).batch(batch)


def train(make, data=numbers, form=dataset, optimizer=None, compiled=None, weights=False, shuffle=False, **fit):
    keras.utils.set_random_seed(3)
    x, y = data(ROWS, 1)
    held = data(CHECKS, 2)
    if weights:
        fit_data = (x, y, np.random.default_rng(5).uniform(0.5, 2, ROWS).astype("float32"))
    else:
        fit_data = (x, y)
    with strategy_now.scope():
        model = tlkeras.distribute.enable(make())
        metrics = {"metrics": ["accuracy", keras.metrics.AUC(name="auc")]}
        chosen = optimizer() if optimizer else keras.optimizers.SGD(0.3)
        model.compile(chosen, **{"loss": "binary_crossentropy", **metrics, **(compiled() if compiled else {})})
    if form == "arrays":
        fed = {"x": x, "y": y, "batch_size": BATCH, "validation_data": held}
        fed |= {"sample_weight": fit_data[2]} if weights else {}
        checks = {"x": held[0], "y": held[1], "batch_size": BATCH}
    else:
        fed = {"x": form(*fit_data, shuffle=shuffle), "validation_data": form(*held)}
        checks = {"x": form(*held)}
    history = model.fit(**fed, **{"epochs": EPOCHS, "verbose": 0, "shuffle": shuffle, **fit})
    return {
        "history": {name: np.array(values).tolist() for name, values in history.history.items()},
        "evaluate": {name: np.array(v).tolist() for name, v in model.evaluate(**checks, verbose=0, return_dict=True).items()},
        "weights": [w.tolist() for w in model.get_weights()],
    }, model


def f1():
    return {
        "metrics": [keras.metrics.AUC(name="auc"), keras.metrics.F1Score(threshold=0.5, name="f1")],
        "weighted_metrics": [keras.metrics.BinaryAccuracy(name="weighted")],
    }


def both():
    return {"loss": {"a": "binary_crossentropy", "b": "mse"}, "metrics": None}


def double(rows, seed):
    x, y = numbers(rows, seed)
    return x, {"a": y, "b": 1 - y}


def tokens(rows, seed):
    x = np.random.default_rng(seed).integers(0, 7, (rows, 3)).astype("int32")
    return x, (x.sum(1, keepdims=True) > 9).astype("float32")


CASES = {
    "dense": {"make": dense},
    "arrays": {"make": dense, "form": "arrays"},
    "slices": {"make": dense, "form": slices},
    "executions": {"make": dense, "compiled": lambda: {"steps_per_execution": 3}},
    "slices_executions": {"make": dense, "form": slices, "compiled": lambda: {"steps_per_execution": 3}},
    "sequential": {"make": sequential},
    "subclassed": {"make": Subclassed},
    "metrics": {"make": dense, "compiled": f1, "weights": True},
    "class_weight": {"make": dense, "compiled": f1, "class_weight": {0: 0.5, 1: 3.0}},
    "slices_class_weight": {"make": dense, "form": slices, "compiled": f1, "class_weight": {0: 0.5, 1: 3.0}},
    "array_weights": {"make": dense, "form": "arrays", "compiled": f1, "weights": True},
    "shuffled": {"make": dense, "shuffle": True},
    "slices_shuffled": {"make": dense, "form": slices, "shuffle": True},
    "arrays_shuffled": {"make": dense, "form": "arrays", "shuffle": True},
    "synchronized": {"make": lambda: convolutional(synchronized=True), "data": pictures},
    "clipped": {"make": dense, "optimizer": lambda: keras.optimizers.SGD(0.3, global_clipnorm=0.05)},
    "momentum": {"make": dense, "optimizer": lambda: keras.optimizers.SGD(0.1, momentum=0.9, weight_decay=0.01)},
    "loss_scale": {"make": dense, "optimizer": lambda: keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.3))},
    "averaged": {"make": dense, "optimizer": lambda: keras.optimizers.SGD(0.3, use_ema=True, ema_momentum=0.5)},
    "two_heads": {"make": two_heads, "data": double, "compiled": both},
    "embedded": {"make": embedded, "data": tokens},
    "accumulated": {"make": dense, "optimizer": lambda: keras.optimizers.SGD(0.3, gradient_accumulation_steps=2)},
}

if __name__ == "__main__":
    # What the imports left is collected again and again otherwise, for seconds on a busy machine.
    gc.freeze()
    strategy_now = strategy()
    folder, *names = sys.argv[1:]
    index = json.loads(os.environ.get("TF_CONFIG", '{"task": {"index": 0}}'))["task"]["index"]
    import time
    for name in names or CASES:
        t0=time.time()
        try:
            result = train(**CASES[name])[0]
        except Exception as e:
            import traceback; traceback.print_exc(limit=-4)
            result = str(e)[-300:]
        Path(folder, f"{name}-{index}.json").write_text(json.dumps(result)); print(name, "took", round(time.time()-t0,1), flush=True)
