"""Training in phases: first the head or what the model has unfrozen, then deeper at a lower rate."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import tensorflow as tf
from rich.console import Console

from tlkeras import distribute, leaving, trainable
from tlkeras.backbones.hub_module import HubModule
from tlkeras.backbones.text import takes_texts
from tlkeras.data import pipeline
from tlkeras.data.check import still_readable
from tlkeras.data.dataset import Data
from tlkeras.engine import strategy
from tlkeras.engine.callbacks import KeepEpoch, LeaveWhenTold, ShowEpoch
from tlkeras.engine.checkpoint import Checkpoint
from tlkeras.engine.runs import RunFolder
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.files import written_aside
from tlkeras.leaving import Leaving
from tlkeras.spec import RunSpec


@dataclass(frozen=True)
class Phase:
    """A stretch of epochs with one trainability plan and an optimizer of its own."""

    trainable: str
    epochs: int
    learning_rate: float


def phases(spec: RunSpec) -> list[Phase]:
    """Lists the phases of a spec."""
    first = Phase(spec.trainable, spec.epochs, spec.learning_rate)
    if not spec.fine_tune:
        return [first]
    return [first, Phase(spec.fine_tune, spec.fine_tune_epochs, spec.fine_tune_learning_rate)]


def check_phases(model: keras.Model, spec: RunSpec) -> None:
    """Makes the plan of each phase, so that one that means nothing is found before any training.

    Raises:
        TlkerasError: As `tlkeras.trainable.plan`; or a module of TF-Hub would train in training mode on many devices.
    """
    modules = [layer for layer in model.layers if isinstance(layer, HubModule) and layer.follows_batches]
    own = {unit.name for module in modules for unit in module.units}
    devices = model.distribute_strategy.num_replicas_in_sync
    for phase in phases(spec):
        plan = trainable.plan(model, phase.trainable, spec.batch_norm)
        if devices > 1 and spec.batch_norm == "train" and own.intersection(plan.trained_layers):
            # Each replica's copy of its moving statistics would follow that replica's rows alone.
            raise TlkerasError(
                f"batch_norm: the moving statistics of a module of TF-Hub can be trained on one device only: take "
                f"batch_norm 'frozen', or one device. Received: 'train' on {devices} devices"
            )


def make_deterministic(seed: int) -> None:
    """Makes everything random of Python, NumPy and TensorFlow follow the seed, and TensorFlow's ops repeat exactly."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def fit(model: keras.Model, data: Data, spec: RunSpec, folder: RunFolder, console: Console) -> None:
    """Trains through all phases and leaves in the folder the model of the epoch with the lowest validation loss.

    Continues from the folder's checkpoint where there is one: the same history and the same weights result as from a
    run that was never interrupted. A model that was made in the scope of a strategy trains on all
    its devices.

    Raises:
        TryAgain: The process was told to leave by SIGTERM; the last finished epoch is kept.
    """
    _check_batches(model.distribute_strategy, data, spec)
    with leaving.on_sigterm() as told, model.distribute_strategy.scope():
        _Training(distribute.enable(model), data, spec, folder, console, told).run()
        told.check()


def _check_batches(strategy: tf.distribute.Strategy, data: Data, spec: RunSpec) -> None:
    devices, least = strategy.num_replicas_in_sync, min(spec.batch_size, len(data.parts["train"]))
    if least < devices:
        raise TlkerasError(
            f"a batch of {least} examples cannot be divided among {devices} devices: take fewer devices, or a larger "
            f"batch_size where there is more to learn from"
        )


class _Training:
    def __init__(
        self, model: keras.Model, data: Data, spec: RunSpec, folder: RunFolder, console: Console, told: Leaving
    ):
        self._told, self._strategy = told, model.distribute_strategy
        self._model, self._data, self._spec, self._folder, self._console = model, data, spec, folder, console
        self._checkpoint = Checkpoint(folder.checkpoints)
        self._progress = self._checkpoint.progress()

    def run(self) -> None:
        if self._progress.epochs:
            self._checkpoint.restore_model(self._model)
            # A kill may have come between the two files of the last epoch.
            self._folder.write_history(self._progress.epochs)
            self._console.print(f"continuing after epoch {len(self._progress.epochs)}")
        plans = phases(self._spec)
        for number, phase in enumerate(plans[self._progress.phase :], start=self._progress.phase + 1):
            if len(plans) > 1:
                about = f"{phase.trainable}, learning rate {phase.learning_rate:g}"
                self._console.print(f"phase {number} of {len(plans)}: {about}")
            self._prepare(phase)
            self._fit(phase)
            self._progress.next_phase()
        self._checkpoint.restore_best(self._model, self._progress)
        self._synchronize_batch_norm(False)
        with written_aside(self._folder.model_file) as aside:
            self._model.save(aside)

    def _prepare(self, phase: Phase) -> None:
        """Applies the phase's plan and compiles; a later phase sets out from the best epoch of those before it."""
        if self._progress.epochs and not self._progress.epochs_of_phase:
            self._checkpoint.restore_best(self._model, self._progress)
        trainable.plan(self._model, phase.trainable, self._spec.batch_norm).apply(self._model)
        self._synchronize_batch_norm(self._spec.sync_batch_norm)
        self._model.compile(
            optimizer=_optimizer(self._spec.optimizer, phase.learning_rate),
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
            jit_compile=strategy.jit_compile(self._model),
        )
        if self._progress.epochs_of_phase:
            self._checkpoint.restore_optimizer(self._model)

    def _synchronize_batch_norm(self, synchronized: bool) -> None:
        """Has BatchNorm that trains take its moments over all devices; it is no part of the model that is saved."""
        for layer in self._model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = synchronized and self._strategy.num_replicas_in_sync > 1

    def _fit(self, phase: Phase) -> None:
        spec, data = self._spec, self._data
        size = None if takes_texts(self._model) else self._model.input_shape[1]
        begun = len(self._progress.epochs)
        last = begun - self._progress.epochs_of_phase + phase.epochs
        if begun >= last or self._progress.is_patience_over(spec.early_stopping):
            return
        parts, classes, batch_size = data.parts, data.classes, spec.batch_size
        order = {"seed": spec.seed, "epoch_range": (begun, last), "augment": spec.augment}
        steps = pipeline.Share(total=self._strategy.num_replicas_in_sync).steps(len(parts["train"]), batch_size)
        training = strategy.divided(
            self._strategy,
            lambda share: pipeline.training_set(parts["train"], classes, size, batch_size, **order, share=share),
        )
        validation = strategy.divided(
            self._strategy, lambda share: pipeline.evaluation_set(parts["val"], classes, size, batch_size, share)
        )
        show = ShowEpoch(self._console, last, steps)
        read = [] if size is None else [*data.parts["train"], *data.parts["val"]]
        files = [example.path for example in read]
        with contextlib.closing(show), _enough_memory(), still_readable(files, data.root):
            self._model.fit(
                training,
                initial_epoch=begun,
                epochs=last,
                steps_per_epoch=steps,
                validation_data=validation,
                class_weight=class_weights(data) if spec.class_weights == "balanced" else None,
                verbose=0,
                shuffle=False,
                callbacks=[
                    LeaveWhenTold(self._told),
                    show,
                    KeepEpoch(self._folder, self._checkpoint, self._progress, spec.early_stopping),
                    keras.callbacks.TensorBoard(self._folder.tensorboard, write_graph=False),
                ],
            )


@contextlib.contextmanager
def _enough_memory() -> Iterator[None]:
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise TlkerasError(
            f"not enough memory for a step of training: lower --batch-size or --image-size ({in_one_line(error)})"
        ) from error


def class_weights(data: Data) -> dict[int, float]:
    """Weighs each class by the inverse of its share in training: `images / (classes * images of the class)`."""
    counts = Counter(example.label for example in data.parts["train"])
    return {i: counts.total() / (len(counts) * counts[name]) for i, name in enumerate(data.classes)}


def _optimizer(name: str, learning_rate: float) -> keras.optimizers.Optimizer:
    momentum = {"momentum": 0.9, "nesterov": True} if name == "sgd" else {}
    return keras.optimizers.get({"class_name": name, "config": {"learning_rate": learning_rate, **momentum}})
