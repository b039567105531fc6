"""Training in phases: first the head or what the model has unfrozen, then deeper at a lower rate."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import keras
import tensorflow as tf
from rich.console import Console

from tlkeras import distribute, leaving, sizes, stages, trainable
from tlkeras.backbones.hub_module import HubModule
from tlkeras.backbones.text import takes_texts
from tlkeras.data import pipeline
from tlkeras.data.check import still_readable
from tlkeras.data.dataset import Data
from tlkeras.engine import strategy
from tlkeras.engine.callbacks import KeepEpoch, LeaveWhenTold, ShowEpoch
from tlkeras.engine.checkpoint import Checkpoint
from tlkeras.engine.idle import Waiting
from tlkeras.engine.runs import RunFolder
from tlkeras.engine.solved import Solved, is_solved, refuse_steps
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.features import dataset as feature_sets
from tlkeras.features.prepare import Frozen, Part, choose_way
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


def fit(
    model: keras.Model, data: Data, spec: RunSpec, folder: RunFolder, console: Console, cache_memory: str = ""
) -> None:
    """Trains through all phases and leaves in the folder the model of the epoch with the lowest validation loss.

    What a phase has frozen is computed once for each image where that is possible, and the rest is trained on it.

    Continues from the folder's checkpoint where there is one: the same history and the same weights result as from a
    run that was never interrupted. A model that was made in the scope of a strategy trains on all
    its devices.

    Raises:
        TryAgain: The process was told to leave by SIGTERM; the last finished epoch is kept.
    """
    _check_batches(model.distribute_strategy, data, spec)
    with leaving.on_sigterm() as told, model.distribute_strategy.scope():
        _Training(distribute.enable(model), data, spec, folder, console, told, sizes.memory_budget(cache_memory)).run()
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
        self,
        model: keras.Model,
        data: Data,
        spec: RunSpec,
        folder: RunFolder,
        console: Console,
        told: Leaving,
        memory: int,
    ):
        self._told, self._strategy, self._memory = told, model.distribute_strategy, memory
        self._model, self._data, self._spec, self._folder, self._console = model, data, spec, folder, console
        self._size = None if takes_texts(model) else model.input_shape[1]
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
            self._train(phase)
            self._progress.next_phase()
        self._checkpoint.restore_best(self._model, self._progress)
        self._synchronize_batch_norm(False)
        if not self._model.compiled:
            # Its parts were trained: whoever goes on with it finds it as if it had been trained whole.
            self._model.compile(**self._how(plans[-1]))
            self._model.optimizer.build(self._model.trainable_variables)
        with stages.stage("save"), written_aside(self._folder.model_file) as aside:
            self._model.save(aside)

    def _train(self, phase: Phase) -> None:
        """Trains a phase to its end; a later phase sets out from the best epoch of those before it."""
        if self._progress.epochs and not self._progress.epochs_of_phase:
            self._checkpoint.restore_best(self._model, self._progress)
        trainable.plan(self._model, phase.trainable, self._spec.batch_norm).apply(self._model)
        self._synchronize_batch_norm(self._spec.sync_batch_norm)
        parts, stage = self._data.parts, "head" if phase.trainable == "head" else "fine-tune"
        way = choose_way(self._model, self._spec, phase.epochs, len(parts["train"]), len(parts["val"]))
        self._checkpoint.begin(self._model, way.split.rest if way.split else self._model)
        # The process may have died when the phase was at its end.
        if self._progress.is_solved:
            return
        with stages.stage(stage), self._readable():
            if way.split is None:
                refuse_steps(self._spec, way.reason, first=not self._progress.phase)
                self._console.print(f"the whole model runs in each epoch: {way.reason}")
                self._fit(phase, self._model, *self._images())
                return
            frozen = Frozen(
                way.split,
                self._model,
                engine=self._spec.engine,
                features=self._spec.features,
                memory=self._memory,
                console=self._console,
            )
            with contextlib.closing(frozen):
                self._train_on_features(phase, frozen, way.views)

    def _train_on_features(self, phase: Phase, frozen: Frozen, views: int) -> None:
        spec, parts, classes = self._spec, self._data.parts, self._data.classes
        learnt, validated = Part(parts["train"], spec.augment, views), Part(parts["val"])
        frozen.compute(learnt, validated, check=self._told.check)
        train, val = frozen.table(learnt, classes), frozen.table(validated, classes)
        # What was begun with steps goes on with steps.
        if not self._progress.epochs_of_phase and is_solved(frozen.rest, train, spec, not self._progress.phase):
            Solved(self._model, self._folder, self._checkpoint, self._progress, self._console, self._told).train(
                train, val, class_weights(self._data) if spec.class_weights == "balanced" else None
            )
            return

        def training(epoch_range):
            return feature_sets.training_set(
                train, spec.batch_size, seed=spec.seed, epoch_range=epoch_range, mixup=spec.mixup
            )

        self._fit(
            phase,
            frozen.rest,
            training,
            feature_sets.evaluation_set(val, spec.batch_size, one_hot=spec.mixup > 0),
        )

    def _readable(self) -> contextlib.AbstractContextManager:
        read = [] if self._size is None else [*self._data.parts["train"], *self._data.parts["val"]]
        return still_readable([example.path for example in read], self._data.root)

    def _images(self):
        """Makes the sets of batches of images or texts themselves."""
        spec, parts, classes = self._spec, self._data.parts, self._data.classes
        order = {"seed": spec.seed, "augment": spec.augment}

        def training(epoch_range):
            return strategy.divided(
                self._strategy,
                lambda share: pipeline.training_set(
                    parts["train"],
                    classes,
                    self._size,
                    spec.batch_size,
                    **order,
                    epoch_range=epoch_range,
                    share=share,
                ),
            )

        validation = strategy.divided(
            self._strategy,
            lambda share: pipeline.evaluation_set(parts["val"], classes, self._size, spec.batch_size, share),
        )
        return training, validation

    def _synchronize_batch_norm(self, synchronized: bool) -> None:
        """Has BatchNorm that trains take its moments over all devices; it is no part of the model that is saved."""
        for layer in self._model.layers:
            if isinstance(layer, keras.layers.BatchNormalization):
                layer.synchronized = synchronized and self._strategy.num_replicas_in_sync > 1

    def _fit(self, phase: Phase, trained: keras.Model, make_training, validation) -> None:
        """Fits the model, or the part of it that is not frozen, from where the phase stands."""
        spec, begun = self._spec, len(self._progress.epochs)
        last = begun - self._progress.epochs_of_phase + phase.epochs
        if begun >= last or self._progress.is_patience_over(spec.early_stopping):
            return
        replicas = self._strategy.num_replicas_in_sync
        steps = pipeline.Share(total=replicas).steps(len(self._data.parts["train"]), spec.batch_size)
        self._compile(trained, phase, strategy.steps_per_execution(trained, steps))
        training, waiting = make_training((begun, last)), None
        # An epoch of a head on features is over before its clock is read.
        if replicas == 1 and (trained is self._model or phase.trainable != "head"):
            waiting = Waiting()
            training = waiting.watched(training)
        show = ShowEpoch(self._console, last, steps, waiting)
        with contextlib.closing(show), _enough_memory():
            trained.fit(
                training,
                initial_epoch=begun,
                epochs=last,
                steps_per_epoch=steps,
                validation_data=validation,
                class_weight=class_weights(self._data) if spec.class_weights == "balanced" else None,
                verbose=0,
                shuffle=False,
                callbacks=[
                    LeaveWhenTold(self._told),
                    show,
                    KeepEpoch(self._model, self._folder, self._checkpoint, self._progress, spec.early_stopping),
                    keras.callbacks.TensorBoard(self._folder.tensorboard, write_graph=False),
                ],
            )

    def _compile(self, trained: keras.Model, phase: Phase, steps_per_execution: int) -> None:
        how = self._how(phase)
        if self._spec.mixup:
            how["loss"] = keras.losses.CategoricalCrossentropy(from_logits=True)
        trained.compile(**how, steps_per_execution=steps_per_execution)
        if self._progress.epochs_of_phase:
            self._checkpoint.restore_optimizer(trained)

    def _how(self, phase: Phase) -> dict:
        return {
            "optimizer": _optimizer(self._spec.optimizer, phase.learning_rate),
            "loss": keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "metrics": ["accuracy"],
            "jit_compile": strategy.jit_compile(self._model),
        }


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
