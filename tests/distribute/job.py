"""What the tests let one worker or several do: train small models in every way, and write down what came out."""

import gc
import json
import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tlkeras
from tlkeras import cluster

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


class Seen(keras.metrics.Metric):
    """Counts how often each row was seen; the labels are the numbers of the rows."""

    def __init__(self):
        super().__init__(name="seen")
        self.counts = self.add_variable((ROWS,), "zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.counts.assign_add(tf.reduce_sum(tf.one_hot(tf.cast(y_true[:, 0], tf.int32), ROWS), 0))

    def result(self):
        return self.counts + 0.0


def numbered(rows, seed):
    return numbers(rows, seed)[0], np.arange(rows, dtype="float32")[:, None]


class Masks(keras.metrics.Metric):
    """Keeps what the model gave for each row; the labels are the numbers of the rows."""

    def __init__(self):
        super().__init__(name="masks")
        self.masks = self.add_variable((ROWS, 16), "zeros")

    def update_state(self, y_true, y_pred, sample_weight=None):
        self.masks.assign_add(tf.matmul(tf.one_hot(tf.cast(y_true[:, 0], tf.int32), ROWS), y_pred, transpose_a=True))

    def result(self):
        return self.masks + 0.0


def dropping():
    inputs = keras.Input((6,))
    ones = keras.layers.Dense(16, kernel_initializer="zeros", bias_initializer="ones", trainable=False)(inputs)
    return keras.Model(inputs, keras.layers.Dropout(0.5, seed=1)(ones))


def slices(x, *others, batch=BATCH, shuffle=False):
    """Distributes data by hand: every worker makes its slice of each global batch, of whatever size, also none."""

    def make(context):
        many, index = context.num_input_pipelines, context.input_pipeline_id
        data = tf.data.Dataset.from_tensor_slices((x, *others))
        data = data.shuffle(len(x), seed=7) if shuffle else data

        def own(*parts):
            rows = tf.shape(parts[0])[0]
            start, stop = rows * index // many, rows * (index + 1) // many
            return tuple(part[start:stop] for part in parts)

        # Of unknown length, as after rebatch: where Keras knows it, it draws one more order from a shuffle.
        data = data.batch(batch).map(own).filter(lambda *_: True)
        # Each replica takes a batch of its own: those of one machine share what its worker has.
        here = STRATEGY.num_replicas_in_sync // many
        return data if here == 1 else data.rebatch([-(-batch // many // here)] * here)

    return STRATEGY.distribute_datasets_from_function(make)


def files(x, y, batch=BATCH, shuffle=False):
    """Makes three files of rows, of which workers take whole ones."""
    for index, part in enumerate(np.split(np.concatenate([x, y], 1), [3, 10])):
        np.savetxt(f"{FOLDER}/rows-{len(x)}-{INDEX}-{index}.txt", part)
    data = tf.data.Dataset.from_tensor_slices([f"{FOLDER}/rows-{len(x)}-{INDEX}-{index}.txt" for index in range(3)])
    data = data.interleave(tf.data.TextLineDataset, cycle_length=1).batch(batch)
    split = data.map(lambda lines: tf.strings.to_number(tf.strings.split(lines, " ").to_tensor(shape=[None, 7])))
    return split.map(lambda row: (row[:, :6], row[:, 6:]))


def dataset(x, *others, batch=BATCH, shuffle=False):
    data = tf.data.Dataset.from_tensor_slices((x, *others))
    return (data.shuffle(len(x), seed=7) if shuffle else data).batch(batch)


def train(make, data=numbers, form=dataset, optimizer=None, compiled=None, weights=False, **options):
    keras.utils.set_random_seed(3)
    (x, y), held = data(ROWS, 1), data(CHECKS, 2)
    rows = (x, y, np.random.default_rng(5).uniform(0.5, 2, ROWS).astype("float32")) if weights else (x, y)
    shuffle = options.setdefault("shuffle", False)
    with STRATEGY.scope():
        model = make() if options.pop("stock", False) else tlkeras.distribute.enable(make())
        metrics = {"metrics": ["accuracy", keras.metrics.AUC(name="auc")]}
        chosen = optimizer() if optimizer else keras.optimizers.SGD(0.3)
        model.compile(chosen, **{"loss": "binary_crossentropy", **metrics, **(compiled() if compiled else {})})
    if form == "arrays":
        fed = dict(zip(("x", "y", "sample_weight"), rows, strict=False), batch_size=BATCH, validation_data=held)
        checks = {"x": held[0], "y": held[1], "batch_size": BATCH}
        unlabelled = {"x": held[0], "batch_size": BATCH}
    else:
        fed = {"x": form(*rows, shuffle=shuffle), "validation_data": form(*held)}
        checks = unlabelled = {"x": form(*held)}
    callbacks = saving() if options.pop("saved", False) else []
    fitted = model.fit(**fed, callbacks=callbacks, verbose=0, **{"epochs": EPOCHS, **options})
    evaluated = model.evaluate(**checks, verbose=0, return_dict=True)
    return {
        "history": {name: np.array(values).tolist() for name, values in fitted.history.items()},
        "evaluate": {name: np.array(value).tolist() for name, value in evaluated.items()},
        "weights": [weights.tolist() for weights in model.get_weights()],
        "predict": None if make is two_heads else model.predict(**unlabelled, verbose=0).tolist(),
    }


def saving():
    return [
        keras.callbacks.BackupAndRestore(f"{FOLDER}/backup-{INDEX}"),
        keras.callbacks.EarlyStopping(patience=9, restore_best_weights=True),
        *([keras.callbacks.ModelCheckpoint(f"{FOLDER}/model.keras")] if INDEX == 0 else []),
    ]


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


def counted(**options):
    return {"make": dense, "data": numbered, "compiled": lambda: {"loss": "mse", "metrics": [Seen()]}, **options}


CASES = {
    "dense": {"make": dense},
    "arrays": {"make": dense, "form": "arrays"},
    "slices": {"make": dense, "form": slices},
    "executions": {"make": dense, "compiled": lambda: {"steps_per_execution": 3}},
    "slices_executions": {"make": dense, "form": slices, "saved": True, "compiled": lambda: {"steps_per_execution": 3}},
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
    "seen": counted(),
    "seen_arrays": counted(form="arrays", shuffle=True),
    "seen_slices": counted(form=slices, shuffle=True),
    "seen_files": counted(form=files),
    "seen_steps": counted(form=slices, steps_per_epoch=2),
    "masks": {"make": dropping, "data": numbered, "compiled": lambda: {"loss": "mse", "metrics": [Masks()]}},
    "own_step": {"make": OwnStep},
    "stock": {"make": dense, "stock": True},
}

if __name__ == "__main__":
    # What the imports left is collected again and again otherwise, for seconds on a busy machine.
    gc.freeze()
    FOLDER, devices, *names = sys.argv[1:]
    STRATEGY = tlkeras.distribute.strategy(devices)
    found = cluster.from_environment()
    INDEX = found.index if found else 0
    for name in names:
        try:
            result = train(**CASES[name])
        except ValueError as error:
            if name != "stock":
                raise
            result = str(error)
        Path(FOLDER, f"{name}-{INDEX}.json").write_text(json.dumps(result))
