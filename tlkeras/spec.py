"""The spec of a run: every setting with its default, read from TOML and `key=value`, checked in one pass."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tlkeras.errors import TlkerasError, unknown_name

OPTIMIZERS = ("adam", "adamw", "sgd", "rmsprop")
AUGMENTATIONS = ("none", "light", "strong")
PRECISIONS = ("none", "auto", "float16", "bfloat16")
FEATURES = ("auto", "float16", "float32", "off")
ENGINES = ("auto", "tensorflow", "openvino", "onnxruntime")
SOLVERS = ("auto", "lbfgs", "sgd")


def _setting(default, meaning: str, check=None, legal: str = "", names: tuple[str, ...] = ()):
    make = {"default_factory": (lambda: list(default))} if isinstance(default, list) else {"default": default}
    return field(**make, metadata={"meaning": meaning, "check": check, "legal": legal, "names": names})


def _one_of(*names):
    return {"check": lambda value: value in names, "legal": ", ".join(names), "names": names}


def _whole(least: int, most: int = 1_000_000):
    return {"check": lambda value: least <= value <= most, "legal": f"a whole number from {least} to {most:,}"}


def _is_trainable(value: str) -> bool:
    kind, _, count = value.partition(":")
    return bool(value.strip()) and (kind != "top" or (count.isdigit() and int(count) > 0))


_TRAINABLE = {"check": _is_trainable, "legal": "head, all, top:N (N stages from the output), or a pattern of names"}
_POSITIVE = {"check": lambda value: 0 < value < math.inf, "legal": "a number above 0"}


@dataclass(frozen=True)
class RunSpec:
    """Everything that decides what a run does. Written to `spec.toml` of the run folder, it repeats the run.

    Raises:
        TlkerasError: One message for all values that are not legal.
    """

    data: str = _setting("", "folder of class folders, csv:FILE, tsv:FILE, tfds:NAME[:CONFIG] or digits")
    path_column: str = _setting("path", "column of a CSV that holds the image's path")
    label_column: str = _setting("label", "column of a table that holds the class; a number where it has no header")
    text_column: str = _setting("text", "column of a table that holds the text; a number where it has no header")
    data_dir: str = _setting("", "where tensorflow_datasets keeps its data")
    download: bool = _setting(False, "let tensorflow_datasets download what is not there")
    split: list[float] = _setting(
        [0.7, 0.15, 0.15],
        "shares of train, validation and test",
        lambda value: len(value) == 3 and min(value) > 0 and abs(sum(value) - 1) < 1e-6,
        "three shares above 0 with a sum of 1",
    )
    seed: int = _setting(
        0, "decides split, head, order and augmentation", lambda value: 0 <= value < 2**32, "a whole number below 2^32"
    )

    backbone: str = _setting("efficientnet_lite0", "name of a card of the zoo, or hub:HANDLE of a TF-Hub module")
    card: str = _setting("", "file of cards of your own")
    stages: list[str] = _setting([], "patterns of layer names, one a stage, input to output; none is the card's")
    weights: str = _setting("imagenet", "imagenet (what the card names), random, or a file of weights")
    partial: bool = _setting(False, "take from a file of weights what fits by name and shape, and report the rest")
    image_size: int = _setting(0, "pixels a side; 0 is the card's own size", **_whole(0, 4096))
    trainable: str = _setting("head", "what the first phase trains beside the head", **_TRAINABLE)
    batch_norm: str = _setting("frozen", "BatchNorm of unfrozen stages", **_one_of("frozen", "train"))
    sync_batch_norm: bool = _setting(False, "BatchNorm that trains takes its moments over all devices")
    pooling: str = _setting("avg", "pooling of the feature map", **_one_of("avg", "max", "gem"))
    dropout: float = _setting(
        0.2, "share of the features dropped in training", lambda value: 0 <= value < 1, "a share from 0 to below 1"
    )

    epochs: int = _setting(10, "epochs of the first phase", **_whole(1))
    batch_size: int = _setting(32, "examples a step", **_whole(1))
    learning_rate: float = _setting(1e-3, "of the first phase", **_POSITIVE)
    optimizer: str = _setting("adam", "optimizer of both phases", **_one_of(*OPTIMIZERS))
    augment: str = _setting("none", "random changes to training images", **_one_of(*AUGMENTATIONS))
    class_weights: str = _setting("none", "weight of each class in the loss", **_one_of("none", "balanced"))
    early_stopping: int = _setting(
        0, "epochs without a better validation loss before a phase ends; 0 is never", **_whole(0)
    )
    mixed_precision: str = _setting(
        "none",
        "type of the computation; auto is what GPUs and TPUs are made for",
        **_one_of(*PRECISIONS),
    )
    features: str = _setting(
        "auto", "what the frozen part computes is kept in this type; off computes it every epoch", **_one_of(*FEATURES)
    )
    views: int = _setting(
        0, "augmented views of each image that are computed once and drawn from; 0 chooses", **_whole(0, 1000)
    )
    mixup: float = _setting(
        0.0,
        "alpha of mixup between the features of a batch; 0 is none",
        lambda value: 0 <= value <= 10,
        "a number from 0 to 10",
    )
    engine: str = _setting("auto", "what computes the frozen part", **_one_of(*ENGINES))
    solver: str = _setting(
        "auto", "how a linear head is trained: lbfgs solves it, sgd is the optimizer", **_one_of(*SOLVERS)
    )

    fine_tune: str = _setting("", "what the second phase trains, as trainable; empty is no second phase")
    fine_tune_epochs: int = _setting(0, "epochs of the second phase, 5 where only fine_tune is given", **_whole(0))
    fine_tune_learning_rate: float = _setting(1e-4, "of the second phase", **_POSITIVE)

    def __post_init__(self):
        wrong = [problem for item in dataclasses.fields(self) if (problem := self._problem(item))]
        if self.partial is True and self.weights in ("imagenet", "random"):
            wrong.append(f"partial: needs a file of weights. Received: weights {self.weights!r}")
        if self.fine_tune and not _is_trainable(self.fine_tune):
            wrong.append(f"fine_tune: legal is {_TRAINABLE['legal']}. Received: {self.fine_tune!r}")
        wrong = wrong or list(self._contradictions())
        if wrong:
            raise TlkerasError("\n".join(["the spec is not legal:", *wrong] if len(wrong) > 1 else wrong))

    def _contradictions(self) -> Iterator[str]:
        if self.features == "off":
            for name, unused in (("solver", "lbfgs"), ("engine", "openvino"), ("engine", "onnxruntime")):
                if getattr(self, name) == unused:
                    yield f"{name}: {unused} works on features that are computed once, and features are off"
        if self.mixup and (self.features == "off" or "all" in (self.trainable, self.fine_tune)):
            yield "mixup: mixes the features of a frozen part, and features are off, or nothing is frozen"
        if self.views and self.features == "off":
            yield "views: are kept as features, and features are off"
        if self.views and self.augment == "none":
            yield f"views: are augmented, and augment is none; take light or strong. Received: {self.views}"
        if self.solver == "lbfgs" and (self.trainable != "head" or self.mixup):
            yield "solver: lbfgs solves a linear head: it needs trainable head, and no mixup; take auto or sgd"

    def _problem(self, item: dataclasses.Field) -> str:
        value, wanted = getattr(self, item.name), _type_of(item)
        if wanted is float and type(value) is int:
            object.__setattr__(self, item.name, value := float(value))
        if not _fits(value, wanted):
            name = getattr(wanted, "__name__", str(wanted))
            return f"{item.name}: legal is a value of type {name}. Received: {value!r}"
        check, legal, names = (item.metadata[key] for key in ("check", "legal", "names"))
        if check is None or check(value):
            return ""
        if names:
            return str(unknown_name(item.name, value, names))
        return f"{item.name}: legal is {legal}. Received: {value!r}"

    def to_toml(self) -> str:
        """Gives the spec as TOML, each line with its meaning, so that the file explains itself."""
        return "".join(
            f"{f'{item.name} = {_toml(getattr(self, item.name))}':<40} # {item.metadata['meaning']}\n"
            for item in dataclasses.fields(self)
        )

    def differences(self, other: RunSpec) -> list[str]:
        """Lists the settings in which two specs differ, as `name: mine != theirs`."""
        mine, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return [f"{key}: {mine[key]!r} != {theirs[key]!r}" for key in mine if mine[key] != theirs[key]]


def setting_names() -> list[str]:
    """Lists the names of all settings in the order of the file."""
    return [item.name for item in dataclasses.fields(RunSpec)]


def read(path: str | os.PathLike) -> dict:
    """Reads the settings that a TOML file gives; the rest keep their defaults.

    Raises:
        TlkerasError: The file is missing, is no TOML, or has an unknown key; the message cites the file.
    """
    try:
        settings = tomllib.loads(Path(path).read_text("utf-8"))
    except FileNotFoundError as error:
        raise TlkerasError(f"spec file not found: {path}") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TlkerasError(f"{path} cannot be read as TOML: {error}") from error
    _refuse_unknown(settings, f"{path}: ")
    return settings


def overrides(pairs: Iterable[str]) -> dict:
    """Turns `key=value` texts into settings; values are written as in TOML, and text needs no quotes.

    >>> overrides(["epochs=3", "optimizer=sgd"])
    {'epochs': 3, 'optimizer': 'sgd'}
    """
    settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals:
            raise TlkerasError(f"an override is written key=value. Received: {pair!r}")
        _refuse_unknown({key.strip(): None})
        settings[key.strip()] = _value(key.strip(), text.strip())
    return settings


def make(*layers: Mapping) -> RunSpec:
    """Makes a spec from layers of settings; later layers win.

    Of the second phase one setting is enough: `fine_tune` alone takes 5 epochs, `fine_tune_epochs` alone top:2.

    Raises:
        TlkerasError: A key is unknown or a value is not legal; all wrong values in one message.
    """
    settings = {key: value for layer in layers for key, value in layer.items()}
    _refuse_unknown(settings)
    if settings.get("fine_tune") or settings.get("fine_tune_epochs"):
        settings["fine_tune"] = settings.get("fine_tune") or "top:2"
        settings["fine_tune_epochs"] = settings.get("fine_tune_epochs") or 5
    return RunSpec(**settings)


def _refuse_unknown(settings: Mapping, where: str = "") -> None:
    for key in settings:
        if key not in setting_names():
            raise TlkerasError(f"{where}{unknown_name('setting', key, setting_names())}")


def _value(key: str, text: str):
    if _type_of(RunSpec.__dataclass_fields__[key]) is str:
        return text.strip("\"'")
    if _type_of(RunSpec.__dataclass_fields__[key]) == list[str] and not text.startswith("["):
        return [part.strip() for part in text.split(",") if part.strip()]
    if _type_of(RunSpec.__dataclass_fields__[key]) == list[float] and not text.startswith("["):
        text = f"[{text}]"
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _toml(value) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _type_of(item: dataclasses.Field):
    return typing.get_type_hints(RunSpec)[item.name]


def _fits(value, wanted) -> bool:
    if isinstance(wanted, types.GenericAlias):
        (of,) = typing.get_args(wanted)
        legal = (int, float) if of is float else (of,)
        return isinstance(value, (list, tuple)) and all(type(v) in legal for v in value)
    return type(value) is wanted
