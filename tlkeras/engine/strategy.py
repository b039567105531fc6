"""Where a run computes: one device, or all GPUs of the machine through tf.distribute."""

from __future__ import annotations

import keras
import tensorflow as tf

from tlkeras.backbones.text import takes_texts


def choose() -> tf.distribute.Strategy:
    """Gives a `MirroredStrategy` over all GPUs where there are two or more, else the default strategy.

    GPU memory is taken as it is needed, so that another process may use the rest.
    """
    gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        tf.config.experimental.set_memory_growth(gpu, True)
    return tf.distribute.MirroredStrategy() if len(gpus) > 1 else tf.distribute.get_strategy()


def jit_compile(model: keras.Model) -> str | bool:
    """Says whether to compile with XLA: as Keras sees fit on a GPU, never on a CPU, where XLA slows convolutions.

    Nor for texts: XLA knows no strings.
    """
    if takes_texts(model):
        return False
    return "auto" if tf.config.list_physical_devices("GPU") else False
