"""A module of TF-Hub as a Keras 3 layer: its variables become the layer's, and train, freeze and save as any others."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Collection, Mapping, Sequence

import keras
import tensorflow as tf

from tlkeras.backbones import hub_places, unit_names
from tlkeras.backbones.saved_module import SavedModule, select
from tlkeras.errors import TlkerasError, TlkerasWarning

# Stands for all outputs of a module, as a dictionary.
EVERYTHING = "*"


class Unit(keras.layers.Layer):
    """A part of a module that freezes and thaws as a layer does: the variables whose names share a path.

    Args:
        name: The path.
        variables: Pairs of a variable of the module and whether it trains.
        module: Name of the module's layer, with which the paths of the variables begin.

    Attributes:
        described: Names within the unit and shapes of the variables.
        could_train: Whether any of them trains.
        is_batch_norm: Whether they are those of a BatchNorm.
    """

    def __init__(self, name: str, variables: Sequence[tuple[tf.Variable, bool]], module: str):
        super().__init__(dtype="float32", autocast=False)
        # Keras allows no path as the name of a layer when it is made.
        self.name = name
        self.described = [[_name(variable), list(variable.shape)] for variable, _ in variables]
        with contextlib.ExitStack() as scopes:
            for part in (module, *name.split("/")):
                scopes.enter_context(keras.name_scope(part))
            for (variable, trains), unique in zip(variables, _unique([n for n, _ in self.described]), strict=True):
                self._track_variable(_adopt(variable, trains, unique))
        self.could_train = any(trains for _, trains in variables)
        names = {name for name, _ in self.described}
        # Where several layers ended up in one unit, it is more than a BatchNorm.
        self.is_batch_norm = "moving_mean" in names and names <= {"gamma", "beta", "moving_mean", "moving_variance"}
        self.built = True


def _name(variable: tf.Variable) -> str:
    return unit_names.last_component(variable.name) or "variable"


def _unique(names: Sequence[str]) -> list[str]:
    """Numbers the names that are there twice, from the second on."""
    counts = [names[:index].count(name) for index, name in enumerate(names)]
    return [f"{name}_{count}" if count else name for name, count in zip(names, counts, strict=True)]


def _adopt(source: tf.Variable, trains: bool, name: str) -> keras.Variable:
    variable = keras.Variable(
        "zeros", shape=source.shape, dtype=source.dtype.name, trainable=trains, autocast=False, name=name
    )
    # From here on, what Keras reads and assigns is the module's own variable.
    variable._value = source
    return variable


@keras.saving.register_keras_serializable(package="tlkeras")
class HubModule(keras.layers.Layer):
    """Calls a module of TF-Hub, or another SavedModel, on its inputs, and owns its variables.

    A module is one graph: it computes in its own types, whatever the dtype policy, and it is either in training mode or
    it is not. It is called in training mode, so that dropout inside is active and BatchNorm uses and follows the batch,
    only where `batch_norm` is `train` and something in it trains. Its regularisation losses are added in training
    where something in it trains.

    Args:
        handle: Folder of a SavedModel, archive of it (`.tar.gz`), or address that TensorFlow Hub fetches from.
        arguments: Further arguments of each call, such as `batch_norm_momentum`.
        output_key: Which output to give, where the module gives a dictionary (its key) or a tuple (its position);
            `*` gives them all, as a preprocessor of texts does.
        batch_norm: `frozen` or `train`.
        sha256: Of the module's graph: another module is refused.
        units: Names and shapes of the variables, as `get_config` gives them: a module with others is refused.
        trained: Names of the units that train; all where not given, or none where the module cannot be trained.
        copy: Folder of the copy that a run made, which is looked at before the handle.

    Raises:
        TlkerasError: The module is not found, or is another, or cannot be called; or `trainable` is given as true, and
            it cannot be trained.
    """

    def __init__(
        self,
        handle: str,
        arguments: Mapping | None = None,
        output_key: str | int | None = None,
        batch_norm: str = "frozen",
        sha256: str | None = None,
        units: list | None = None,
        trained: Sequence[str] | None = None,
        copy: str | None = None,
        **kwargs,
    ):
        kwargs.setdefault("dtype", "float32")
        super().__init__(**kwargs)
        self.handle, self.output_key, self.batch_norm = hub_places.absolute(handle), output_key, batch_norm
        self.arguments = dict(arguments or {})
        self.folder = hub_places.find(self.handle, self.name, sha256, copy)
        beside = hub_places.beside(self.name)
        self.copy = str(beside) if self.folder == beside else copy
        self.sha256 = hub_places.graph_sha256(self.folder)
        self.saved = SavedModule(self.folder, self.arguments)
        if output_key != EVERYTHING:
            self._select(self.saved.outputs)
        if self.saved.needs_text:
            self.needs = "tensorflow_text"
        # Tracked, so that a SavedModel of any model with this layer has the module's tables and files.
        self.loaded = self.saved.loaded
        groups = unit_names.units([variable.name for variable in self.saved.variables])
        self.units = [Unit(name, self._variables(indices), self.name) for name, indices in groups.items()]
        if units is None and kwargs.get("trainable") and self.saved.refusal:
            raise TlkerasError(self.saved.refusal)
        if units is not None and units != self._described():
            raise TlkerasError(
                f"the module in {self.folder} has other variables than the one that the model was made with"
            )
        trained = groups if trained is None else trained
        self.train_units(trained if self.trainable and not self.saved.refusal else (), batch_norm)
        self.built = True

    @classmethod
    def from_config(cls, config):
        # A file of a model must not make this machine fetch and run what it names.
        with hub_places.without_downloads():
            return cls(**config)

    def get_config(self):
        return {
            **super().get_config(),
            "handle": self.handle,
            "arguments": dict(self.arguments),
            "output_key": self.output_key,
            "batch_norm": self.batch_norm,
            "sha256": self.sha256,
            "units": self._described(),
            "trained": [unit.name for unit in self.units if unit.trainable],
            "copy": self.copy,
        }

    @property
    def trains(self) -> bool:
        """Says whether anything in the module trains."""
        return bool(self.trainable_variables)

    @property
    def follows_batches(self) -> bool:
        """Says whether the module has variables that it sets by itself in training mode, as moving statistics are."""
        return not all(map(self.saved.trains, self.saved.variables))

    def train_units(self, names: Collection[str], batch_norm: str = "frozen") -> None:
        """Sets which units train, and whether the module is called in training mode meanwhile."""
        self.batch_norm = batch_norm
        self.trainable = any(unit.name in names for unit in self.units)
        for unit in self.units:
            unit.trainable = unit.name in names

    def check_trains(self, names: Collection[str], batch_norm: str) -> None:
        """Refuses what the module cannot do.

        Raises:
            TlkerasError: It cannot be trained at all, or not in training mode, or only a part of its BatchNorm would
                train, which is one graph in one mode.
        """
        chosen = [unit for unit in self.units if unit.name in names]
        if not chosen:
            return
        if self.saved.refusal:
            raise TlkerasError(self.saved.refusal)
        if batch_norm != "train":
            return
        if self.saved.modes and not {True, "tensor"} & self.saved.modes:
            raise TlkerasError(f"the module in {self.folder} was saved without its training mode: batch_norm is frozen")
        if any(unit.is_batch_norm and unit not in chosen for unit in self.units):
            raise TlkerasError(
                "batch_norm: a module of TF-Hub is one graph, and the BatchNorm layers of its frozen stages would "
                "train along: take trainable 'all', or batch_norm 'frozen'"
            )

    def stage_patterns(self) -> list[str]:
        """Finds stages in the names of the units, as patterns for a card."""
        weighty = [not u.is_batch_norm and u.could_train for u in self.units]
        names = [unit.name for unit in self.units]
        return unit_names.stage_patterns(names, weighty if any(weighty) else [not u.is_batch_norm for u in self.units])

    def call(self, inputs, training=None):
        if training and self.trainable and self.saved.refusal:
            # Keras sets it for whole models too, where it need not be meant for this layer.
            warnings.warn(f"the layer {self.name!r} stays frozen: {self.saved.refusal}", TlkerasWarning, stacklevel=2)
        if training and self.trains:
            for term in self.saved.regularization():
                self.add_loss(term)
        outputs = self.saved(inputs, bool(training) and self.trains and self.batch_norm == "train")
        if self.output_key == EVERYTHING:
            return outputs
        output = self._select(outputs)
        return tf.cast(output, self.compute_dtype) if output.dtype.is_floating else output

    def _select(self, outputs):
        return select(outputs, self.output_key, f"the module in {self.folder}")

    def _variables(self, indices: Sequence[int]) -> list[tuple[tf.Variable, bool]]:
        return [(v, self.saved.trains(v)) for v in map(self.saved.variables.__getitem__, indices)]

    def _described(self) -> list:
        return [[unit.name, unit.described] for unit in self.units]
