"""What the overrides in `keras_trainer` rest on: private parts of Keras that are as they were, and models that fit."""

from __future__ import annotations

import inspect

import keras
from keras.src.backend.tensorflow import trainer as stock
from keras.src.backend.tensorflow.optimizer import TFOptimizer
from keras.src.trainers.data_adapters import tf_dataset_adapter

from tlkeras.errors import TlkerasError

_TRAINER = stock.TensorFlowTrainer

# What of Keras is overridden or called here, and the names of its parameters.
_PRIVATE = (
    (_TRAINER, "_make_function", ("self", "step_function")),
    (_TRAINER, "_maybe_symbolic_build", ("self", "iterator", "data_batch")),
    (_TRAINER, "_symbolic_build", ("self", "iterator", "data_batch")),
    (_TRAINER, "_compute_loss", ("self", "x", "y", "y_pred", "sample_weight", "training")),
    (_TRAINER, "train_step", ("self", "data")),
    (_TRAINER, "test_step", ("self", "data")),
    (_TRAINER, "predict_step", ("self", "data")),
    (stock, "reduce_per_replica", ("values", "strategy", "reduction")),
    (TFOptimizer, "_all_reduce_sum_gradients", ("self", "grads_and_vars")),
    (keras.Layer, "_flatten_layers", ("self", "include_self", "recursive")),
    (keras.random.SeedGenerator, "next", ("self", "ordered")),
    (keras.layers.BatchNormalization, "_moments", ("self", "inputs", "mask")),
    (tf_dataset_adapter, "make_class_weight_map_fn", ("class_weight",)),
)


def check_keras(private: tuple = _PRIVATE) -> None:
    """Raises a `TlkerasError` where the installed Keras lacks what is overridden here, or has it otherwise."""
    for owner, name, parameters in private:
        found = getattr(owner, name, None)
        if found is None or tuple(inspect.signature(found).parameters) != parameters:
            raise TlkerasError(
                f"training on many devices was made for Keras 3.10 to 3.15; in the one installed, {name} is another: "
                f"install one of these. Received: Keras {keras.__version__}"
            )


def check_compiled(model: keras.Model) -> None:
    """Raises a `TlkerasError` where a model was compiled in a way that many devices cannot carry out exactly."""
    strategy = model.distribute_strategy
    made = [model._loss_tracker.variables[0], *(model.optimizer.variables[:1] if model.optimizer else ())]
    if any(getattr(variable.value, "distribute_strategy", None) is not strategy for variable in made):
        raise TlkerasError(
            "the model was compiled, or its optimizer made, outside the scope of its strategy: do both within the scope"
        )
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if getattr(optimizer, "gradient_accumulation_steps", None):
        raise TlkerasError(
            "Keras cannot accumulate gradients on many devices: leave out gradient_accumulation_steps. "
            f"Received: {optimizer.gradient_accumulation_steps}"
        )
    if model.jit_compile:
        raise TlkerasError("jit_compile=True cannot be had on many devices: leave it at auto. Received: True")
    for loss in keras.tree.flatten(model.loss):
        reduction = getattr(loss, "reduction", "mean")
        if reduction not in ("mean", "sum_over_batch_size"):
            raise TlkerasError(
                f"the reduction of a loss must be sum_over_batch_size on many devices. Received: {reduction!r}"
            )
