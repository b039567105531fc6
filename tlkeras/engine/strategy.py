"""How a training uses its strategy: who reads what, and what is compiled with XLA."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from tlkeras.backbones.text import takes_texts
from tlkeras.data.pipeline import Share

# Weights of a model whose step takes no longer than a millisecond or so, and steps between two looks at it.
_SMALL, _MOST_STEPS = 200_000, 100


def divided(
    strategy: tf.distribute.Strategy, make: Callable[[Share], tf.data.Dataset]
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Makes a set of batches of which every process reads its share, and every replica gets a slice.

    Args:
        strategy: Decides who reads what.
        make: Makes the set of batches of one process.
    """
    total = strategy.num_replicas_in_sync
    if total == 1:
        return make(Share())

    def of_process(context: tf.distribute.InputContext) -> tf.data.Dataset:
        local = total // context.num_input_pipelines
        first = context.input_pipeline_id * local
        return make(Share(range(first, first + local), total))

    return strategy.distribute_datasets_from_function(of_process)


def jit_compile(model: keras.Model) -> str | bool:
    """Says whether to compile with XLA: as Keras sees fit on a GPU, never on a CPU, where XLA slows convolutions.

    Nor for texts: XLA knows no strings.
    """
    if takes_texts(model):
        return False
    return "auto" if tf.config.list_physical_devices("GPU") else False


def steps_per_execution(trained: keras.Model, steps: int) -> int:
    """Says how many steps run between two looks of Keras: many where a step takes less than the look, else one.

    A divisor of the steps of an epoch, so that no epoch takes a batch of the next.
    """
    if trained.count_params() > _SMALL or trained.distribute_strategy.num_replicas_in_sync > 1:
        return 1
    return max(divisor for divisor in range(1, min(steps, _MOST_STEPS) + 1) if steps % divisor == 0)
