"""Modules under a MirroredStrategy over two logical CPUs, which TensorFlow divides before it starts: a process."""

import subprocess
import sys

PROGRAM = """
import sys
import keras, numpy as np, tensorflow as tf, tlkeras
from tlkeras import trainable

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
module, folder = sys.argv[1:]
images = np.random.default_rng(0).uniform(0, 255, (8, 32, 32, 3)).astype("float32")
labels = np.arange(8) % 2

def trained(strategy):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = tlkeras.build(f"hub:{module}", classes=["a", "b"], image_size=32, trainable="top:1", dropout=0.0)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    units = model.get_layer("module").units
    before = [[weight.numpy() for weight in unit.weights] for unit in units]
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)
    losses = model.fit(data, epochs=3, verbose=0).history["loss"]
    moved = {
        unit.name
        for unit, old in zip(units, before)
        if any(not np.array_equal(weight, value) for weight, value in zip(unit.weights, old))
    }
    assert moved == {"block2a_conv"}, moved
    return model, losses

mirrored, losses = trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
assert len(mirrored.get_layer("module").weights[0].value.values) == 2
single, expected = trained(tf.distribute.get_strategy())
np.testing.assert_allclose(losses, expected, rtol=1e-4)
mirrored.save(f"{folder}/model.keras")
np.testing.assert_allclose(keras.saving.load_model(f"{folder}/model.keras")(images), single(images), atol=1e-4)
"""


TEXTS = """
import sys
import keras, numpy as np, tensorflow as tf, tlkeras

cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
texts = tf.constant(["good film", "bad", "very good film", "not good", "very bad film"])
data = tf.data.Dataset.from_tensor_slices((texts, [1, 0, 1, 0, 0])).batch(3)

def trained(strategy):
    keras.utils.set_random_seed(0)
    with strategy.scope():
        model = tlkeras.build(f"hub:{sys.argv[1]}", classes=["a", "b"], trainable="all", dropout=0.0)
        tlkeras.distribute.enable(model)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.1), loss, jit_compile=False)
    losses = model.fit(data, epochs=3, verbose=0).history["loss"]
    return losses, model.predict(data, verbose=0)

mirrored = trained(tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]))
for ours, expected in zip(mirrored, trained(tf.distribute.get_strategy())):
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)
"""


def run(program, *arguments):
    done = subprocess.run([sys.executable, "-c", program, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_it_trains_as_on_one_device(hub_module, tmp_path):
    run(PROGRAM, hub_module("keras2"), tmp_path)


def test_texts_in_batches_that_do_not_divide_evenly(hub_module):
    run(TEXTS, hub_module("text"))
