"""A SavedModel in any of the forms that TF-Hub has known, and how each of them wants to be called."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from tlkeras.backbones.text import needs
from tlkeras.errors import TlkerasError, in_one_line, unknown_name

# The output of a dictionary or tuple that is meant where none is named.
_DEFAULT = "default"


class SavedModule:
    """A loaded module.

    Reusable modules have a `__call__` with one trace or more, and can be trained. Of the others, those of TF1 and plain
    SavedModels, only a signature can be called, and that computes as in serving.

    Attributes:
        loaded: What TensorFlow loaded.
        variables: Its weights, as it lists them; variables of other types, such as counters, are carried along.
        refusal: Why it cannot be trained; empty where it can.
        input: What it takes: a `tf.TensorSpec`, or a dictionary of them.
        outputs: What it gives, likewise, or a tuple of them.
        needs_text: Whether it may have operations of TensorFlow Text in it, which must be imported before.
        modes: The values of `training` that it was traced with; empty where it takes none.

    Raises:
        TlkerasError: It cannot be loaded or called, lacks or does not know an argument, or has weights that are NaN.
    """

    def __init__(self, folder: Path, arguments: Mapping[str, Any]):
        self.folder, self._arguments = folder, dict(arguments)
        self.loaded, is_old = _load(folder)
        everything = _variables(self.loaded)
        self.variables = [v for v in everything if _is_weight(v)]
        self._others = [v for v in everything if not _is_weight(v)]
        _check_finite(self.variables, folder)
        self.modes: set = set()
        self.refusal, self._signature = "", None
        traces = getattr(self.loaded.__call__, "concrete_functions", []) if callable(self.loaded) else []
        if traces:
            self.input = self._read_traces(traces)
        else:
            self._signature, self.input = self._read_signature()
            kind = "in the format of TF1" if is_old else "a SavedModel with signatures alone"
            self.refusal = (
                f"the module in {folder} cannot be trained: it is {kind}, which computes as in serving and knows "
                f"neither training mode nor regularisation. Train the head alone, or take a reusable TF2 module"
            )
        # A call to see that it can be called so, without computing anything.
        call = tf.function(lambda inputs: self(inputs, training=False), autograph=False)
        try:
            self.outputs = call.get_concrete_function(self.input).structured_outputs
        except (TypeError, ValueError, tf.errors.OpError) as error:
            given = f" with the arguments {self._arguments}" if self._arguments else ""
            raise TlkerasError(f"the module in {folder} cannot be called{given}: {in_one_line(error)}") from error
        if fixed := [s.shape[0] for s in tf.nest.flatten(self.input) if s.shape.rank and s.shape[0] is not None]:
            raise TlkerasError(f"the module in {folder} takes batches of {fixed[0]} only: save it for any batch size")
        self.needs_text = "tensorflow_text" in sys.modules and getattr(self.input, "dtype", None) == tf.string

    def trains(self, variable: tf.Variable) -> bool:
        """Says whether the module lets a variable train."""
        listed = getattr(self.loaded, "trainable_variables", None)
        return not self.refusal and (variable.trainable if listed is None else any(variable is v for v in listed))

    def __call__(self, inputs, training: bool):
        """Calls the module; `training` is passed on where it takes it."""
        inputs = self._cast(inputs)
        if self._signature is not None:
            given = inputs if isinstance(inputs, Mapping) else {self._input_name: inputs}
            return self._signature(**given, **self._tensors)
        mode = {"training": training if {training, "tensor"} & self.modes else None} if self.modes else {}
        try:
            return self.loaded(inputs, **mode, **self._arguments)
        except ValueError as error:
            if "Could not find matching concrete function" not in str(error):
                raise
            raise TlkerasError(
                f"the module in {self.folder} was not traced for this call: it takes {self.input}. Received: "
                f"{inputs}, { ({**mode, **self._arguments}) }"
            ) from None

    def regularization(self) -> list[tf.Tensor]:
        """Computes the terms that the module adds to the loss."""
        losses = getattr(self.loaded, "regularization_losses", None) or []
        return [loss() if callable(loss) else tf.convert_to_tensor(loss) for loss in losses]

    def resources(self) -> list:
        """Lists what the module needs beside its variables: tables, files of words, variables that are no weights."""
        kinds = (tf.saved_model.experimental.TrackableResource, tf.saved_model.Asset)
        parts = tf.train.TrackableView(self.loaded).descendants()
        return [*self._others, *(part for part in parts if isinstance(part, kinds))]

    def _read_traces(self, traces):
        names, optional = _parameters(self.loaded)
        given = [self._by_name(names, *trace.structured_input_signature) for trace in traces]
        if "training" in names:
            self.modes = {mode if mode in (True, False, None) else "tensor" for mode in (g["training"] for g in given)}
            if not self.modes & {False, None, "tensor"}:
                raise TlkerasError(f"the module in {self.folder} was saved for training only, not for serving")
        others = [name for name in names[1:] if name != "training"]
        for name in self._arguments:
            if name not in others:
                raise unknown_name(f"argument of the module in {self.folder}", name, others or ["none"])
        if missing := [name for name in others if name not in optional and name not in self._arguments]:
            raise TlkerasError(f"the module in {self.folder} needs on its card: arguments = {{ {', '.join(missing)} }}")
        return given[0][names[0]]

    @staticmethod
    def _by_name(names, positional, keywords) -> dict:
        return {**dict.fromkeys(names), **dict(zip(names, positional, strict=False)), **keywords}

    def _read_signature(self):
        signatures = dict(getattr(self.loaded, "signatures", {}))
        name = next((name for name in ("default", "serving_default") if name in signatures), None)
        if name is None and len(signatures) == 1:
            (name,) = signatures
        if name is None:
            raise TlkerasError(
                f"the SavedModel in {self.folder} can be called neither as a module nor by a signature 'default' or "
                f"'serving_default'. It has: {', '.join(signatures) or 'nothing'}"
            )
        signature = signatures[name]
        specs = dict(signature.structured_input_signature[1])
        for argument in self._arguments:
            if argument not in specs:
                raise unknown_name(f"argument of the module in {self.folder}", argument, specs)
        try:
            self._tensors = {key: tf.constant(value, specs.pop(key).dtype) for key, value in self._arguments.items()}
        except (TypeError, ValueError) as error:
            raise TlkerasError(
                f"the module in {self.folder} does not take the arguments {self._arguments}: {in_one_line(error)}"
            ) from None
        self._input_name = next(iter(specs), None)
        return signature, specs if len(specs) != 1 else specs[self._input_name]

    def _cast(self, inputs):
        def one(value, spec):
            return value if value.dtype == spec.dtype or spec.dtype == tf.string else tf.cast(value, spec.dtype)

        if not isinstance(self.input, Mapping):
            return one(inputs, self.input)
        return {key: one(value, self.input[key]) for key, value in inputs.items()}


def select(outputs, key: str | int | None, where: str):
    """Takes the one tensor out of what a module gives.

    Args:
        outputs: A tensor, or a dictionary or tuple that has it.
        key: Name in a dictionary, or position in a tuple, also as text; None is the only one, or that named `default`.
        where: What the module is called in messages.

    Raises:
        TlkerasError: The key is none of it, or one is needed; the legal ones are listed.
    """
    key = None if key is None else str(key)
    if isinstance(outputs, (list, tuple)):
        outputs = {str(index): value for index, value in enumerate(outputs)}
    if not isinstance(outputs, Mapping):
        if key is not None:
            raise TlkerasError(f"output_key: {where} gives one tensor, and takes none. Received: {key!r}")
        return outputs
    if key is None:
        key = next(iter(outputs)) if len(outputs) == 1 else _DEFAULT
        if key not in outputs:
            legal = ", ".join(sorted(map(str, outputs)))
            raise TlkerasError(f"{where} gives several outputs: a card names one as `output_key`. Legal: {legal}")
    if key not in outputs:
        raise unknown_name(f"output_key of {where}", key, sorted(outputs))
    if isinstance(outputs[key], (list, tuple, Mapping)):
        legal = ", ".join(sorted(outputs))
        raise TlkerasError(f"output_key: {key!r} of {where} is not one tensor. Legal: others of {legal}")
    return outputs[key]


def _load(folder: Path) -> tuple[Any, bool]:
    # Modules of TF1 have variants by tags; the one without any is for serving.
    is_old = (folder / "tfhub_module.pb").is_file()
    tags = [] if is_old else None
    try:
        try:
            loaded = tf.saved_model.load(str(folder), tags=tags)
        except (FileNotFoundError, RuntimeError) as error:
            if "Op type not registered" not in str(error):
                raise
            needs("tensorflow_text")
            loaded = tf.saved_model.load(str(folder), tags=tags)
    except (OSError, RuntimeError, ValueError, LookupError, AttributeError, tf.errors.OpError) as error:
        raise TlkerasError(f"the module in {folder} cannot be loaded: {in_one_line(error)}") from error
    # TensorFlow gives what it restored from a graph of TF1 no class of its own.
    graph = getattr(loaded, "graph", None)
    if graph and any(operation.type in ("Variable", "VariableV2") for operation in graph.get_operations()):
        raise TlkerasError(
            f"the module in {folder} has reference variables of TF1, which TF2 cannot save: write it again under "
            f"tf.compat.v1.enable_resource_variables()"
        )
    return loaded, is_old or graph is not None


def _variables(loaded) -> list[tf.Variable]:
    listed = list(getattr(loaded, "variables", None) or [])
    known = {id(variable) for variable in listed}
    parts = tf.train.TrackableView(loaded).descendants()
    return listed + [part for part in parts if isinstance(part, tf.Variable) and id(part) not in known]


def _is_weight(variable: tf.Variable) -> bool:
    # Whole numbers do not train: they count steps, or how often a checkpoint was saved.
    return (variable.dtype.is_floating or variable.dtype.is_complex) and variable.shape.is_fully_defined()


def _check_finite(variables: list[tf.Variable], folder: Path) -> None:
    floating = [variable for variable in variables if variable.dtype.is_floating]
    wrong = [v.name for v in floating if not tf.reduce_all(tf.math.is_finite(tf.cast(v, tf.float32)))]
    if wrong:
        raise TlkerasError(
            f"the module in {folder} is damaged: NaN, or beyond float32, in its variables {', '.join(wrong[:8])}"
            f"{' …' if len(wrong) > 8 else ''}"
        )


def _parameters(loaded) -> tuple[list[str], set[str]]:
    """Gives the names of what a module's call takes, the input first, and those of them that have defaults."""
    about = inspect.getfullargspec(loaded.__call__)
    optional = set(about.args[len(about.args) - len(about.defaults or ()) :]) | set(about.kwonlydefaults or ())
    return [*about.args, *about.kwonlyargs], optional
