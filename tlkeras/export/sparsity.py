"""Pruning: the smallest weights of a model become zeros, while a short fine-tuning lets the others make up for them."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from tlkeras.backbones.hub_module import HubModule
from tlkeras.backbones.text import takes_texts
from tlkeras.backbones.weight_files import set_weights
from tlkeras.data import pipeline
from tlkeras.data.dataset import Data
from tlkeras.engine import strategy
from tlkeras.errors import TlkerasError
from tlkeras.export import keras_file

EPOCHS = 4
LEARNING_RATE = 1e-4
# Share of the steps on which the sparsity grows, and how many steps lie between two prunings.
_RAMP, _EVERY = 0.5, 5
_PLAIN = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense, keras.layers.EinsumDense)
_POINTWISE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)


def prune(
    model: keras.Model,
    data: Data,
    sparsity: float,
    *,
    epochs: int = EPOCHS,
    learning_rate: float = LEARNING_RATE,
    batch_size: int = 32,
    augment: str = "none",
    seed: int = 0,
    on_epoch: Callable[[int, dict], None] | None = None,
) -> keras.Model:
    """Gives a copy of a model, in float32, in which a share of each kernel is zero: the weights of smallest magnitude.

    The share grows over the first half of the steps as `s * (1 - (1 - t)**3)`, and the model is trained meanwhile and
    afterwards (Zhu and Gupta 2017, "To prune, or not to prune"). As there, all kernels get the same sparsity, and the
    first convolution and depthwise kernels, which are few weights that matter much, are left alone; so are the head,
    biases, embeddings, and BatchNorm, which stays as it is. Of the epochs with the full sparsity, that with the lowest
    validation loss is taken.

    Args:
        model: A classifier made by `tlkeras.build`; it is left as it is.
        data: Its training and validation parts are used.
        sparsity: Share of the weights of each pruned kernel, above 0 and below 1.
        epochs: Epochs of training, two or more.
        learning_rate: Of Adam at the start; it falls to zero along a cosine.
        batch_size: Examples a step.
        augment: `none`, `light` or `strong`, of images.
        seed: Decides the order of the examples.
        on_epoch: Called after each epoch with its number from 1 and its figures.

    Raises:
        TlkerasError: The sparsity is not legal, or there is nothing that could be pruned.
    """
    if not 0 < sparsity < 1:
        raise TlkerasError(f"sparsity is a share of the weights, above 0 and below 1. Received: {sparsity}")
    trained, pruned = keras_file.copy(model), keras_file.copy(model)
    kernels = prunable(trained)
    if not kernels:
        raise TlkerasError(f"{model.name} has nothing to prune: no kernel that trains between its input and its head")
    _thaw(trained)
    size = None if takes_texts(model) else model.input_shape[1]
    parts, classes = data.parts, model.get_layer("logits").classes
    steps = pipeline.Share().steps(len(parts["train"]), batch_size)
    trained.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps * epochs)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        jit_compile=strategy.jit_compile(trained),
    )
    order = {"seed": seed, "epoch_range": (0, epochs), "augment": augment}
    pruning = _Pruning(kernels, sparsity, max(1, round(_RAMP * steps * epochs)), on_epoch)
    trained.fit(
        pipeline.training_set(parts["train"], classes, size, batch_size, **order),
        epochs=epochs,
        steps_per_epoch=steps,
        validation_data=pipeline.evaluation_set(parts["val"], classes, size, batch_size),
        verbose=0,
        shuffle=False,
        callbacks=[pruning],
    )
    # The other copy trains what the model trained, and was never compiled.
    for layer in pruned.layers:
        if layer.weights:
            set_weights(layer, pruning.best[layer.name])
    return pruned


def prunable(model: keras.Model) -> list[keras.Variable]:
    """Lists the kernels that are pruned, input to output."""
    found = []
    for layer in model._flatten_layers(include_self=False):
        if isinstance(layer, HubModule):
            found += [v for unit in layer.units if unit.could_train for v in unit.weights if _is_kernel(v)]
        elif layer.name == "logits":
            continue
        elif type(layer) in _POINTWISE:
            found.append(layer.pointwise_kernel)
        elif type(layer) in _PLAIN and getattr(layer, "groups", 1) == 1:
            found.append(layer.kernel)
    is_image = found and not takes_texts(model) and len(found[0].shape) > 2
    return found[1:] if is_image else found


def _is_kernel(variable: keras.Variable) -> bool:
    """Says whether a variable of a module is a kernel and no depthwise one, by the names that TF-Hub's modules use."""
    return len(variable.shape) > 1 and variable.name.split("_")[0] in ("kernel", "weights", "w")


def zeros(model: keras.Model) -> tuple[float, float]:
    """Gives the share of zeros among the weights that are pruned, and among all weights of a model."""
    pruned = np.array([(np.sum(v.numpy() == 0), np.prod(v.shape)) for v in prunable(model)]).reshape(-1, 2).sum(0)
    every = np.array([(np.sum(v.numpy() == 0), np.prod(v.shape)) for v in model.weights]).sum(0)
    return float(pruned[0] / max(1, pruned[1])), float(every[0] / max(1, every[1]))


def _thaw(model: keras.Model) -> None:
    """Sets all to train but BatchNorm: what was frozen must make up for what it loses as well."""
    for layer in model.layers:
        if isinstance(layer, HubModule):
            names = [unit.name for unit in layer.units if unit.could_train and not unit.is_batch_norm]
            layer.train_units(() if layer.saved.refusal else names)
        else:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)


class _Pruning(keras.callbacks.Callback):
    """Prunes along the schedule, keeps zero what was pruned, and keeps the best weights of full sparsity.

    Attributes:
        best: The weights of each layer, by its name.
    """

    def __init__(self, kernels: list[keras.Variable], sparsity: float, ramp: int, on_epoch):
        super().__init__()
        self.best: dict[str, list[np.ndarray]] = {}
        self._kernels, self._sparsity, self._ramp, self._on_epoch = kernels, sparsity, ramp, on_epoch
        self._masks = [tf.Variable(tf.ones(kernel.shape, kernel.dtype)) for kernel in kernels]
        self._mask = tf.function(self._apply, autograph=False)
        self._step, self._lowest = 0, np.inf

    def _apply(self):
        for kernel, mask in zip(self._kernels, self._masks, strict=True):
            kernel.value.assign(kernel.value * mask)

    def on_train_batch_begin(self, batch, logs=None):
        if self._step <= self._ramp and (self._step % _EVERY == 0 or self._step == self._ramp):
            share = self._sparsity * (1 - (1 - self._step / self._ramp) ** 3)
            for kernel, mask in zip(self._kernels, self._masks, strict=True):
                mask.assign(_largest(kernel.numpy(), 1 - share))
            self._mask()
        self._step += 1

    def on_train_batch_end(self, batch, logs=None):
        self._mask()

    def on_epoch_end(self, epoch, logs=None):
        if self._on_epoch:
            self._on_epoch(epoch + 1, logs)
        # The step at the end of the ramp comes first.
        if self._step > self._ramp and (not self.best or logs["val_loss"] < self._lowest):
            self._lowest = logs["val_loss"]
            self.best = {layer.name: layer.get_weights() for layer in self.model.layers if layer.weights}


def _largest(values: np.ndarray, share: float) -> np.ndarray:
    """Marks with 1 the share of the values that is largest by magnitude, and the others with 0."""
    mask = np.ones(values.size, values.dtype)
    mask[np.argsort(np.abs(values).ravel(), kind="stable")[: round((1 - share) * values.size)]] = 0
    return mask.reshape(values.shape)
