"""The contract of an export: which files, signatures, types and shapes, and which operations its graph may have."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.fingerprint_pb2 import FingerprintDef
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef, SignatureDef
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel
from tensorflow.python.framework import op_def_registry

from tlkeras.data.check import MOST_PIXELS
from tlkeras.errors import TlkerasError
from tlkeras.unknown import SCORES, Threshold

MODEL_JSON = "assets.extra/model.json"
_FINGERPRINT = "fingerprint.pb"
LABELS = "assets/labels.txt"
PREDICT, CLASSIFY = "tensorflow/serving/predict", "tensorflow/serving/classify"
# Names of the constants in the graph that `model.json` has too.
TEMPERATURE, THRESHOLD = "temperature", "threshold"
# Registered in TensorFlow's core, and yet of use in a Python process alone.
_OF_PYTHON = {"PyFunc", "PyFuncStateless", "EagerPyFunc"}
# What `model.json` has beside what signatures depend on.
_DESCRIBED = {"task": str, "card": dict, "metrics": dict, "data": dict, "versions": dict, "created": str}
_VERSIONS = ("tlkeras", "keras", "tensorflow")
_LONGEST_SIDE = 10_000
# What a file asks for is not imported but where it is known.
_KNOWN_NEEDS = {"tensorflow_text"}


@dataclasses.dataclass(frozen=True)
class About:
    """What `model.json` says of an export, as far as its signatures depend on it."""

    classes: list[str]
    image_size: tuple[int, int] | None
    needs: list[str]
    top_k: int
    temperature: float
    unknown: Threshold | None
    max_pixels: int | None

    @property
    def is_text(self) -> bool:
        """Whether it takes texts rather than images."""
        return self.image_size is None

    @property
    def takes(self) -> str:
        """The input of most signatures, and the feature of an Example."""
        return "text" if self.is_text else "image_bytes"


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a signature must be: the method, and type and shape of each input and output; None is any size."""

    method: str
    inputs: dict[str, tuple[tf.DType, list[int | None]]]
    outputs: dict[str, tuple[tf.DType, list[int | None]]]


def read_about(export: Path) -> About:
    """Reads what the checks need of `model.json`.

    Raises:
        TlkerasError: It cannot be read, or lacks something.
    """
    try:
        return _about(json.loads((export / MODEL_JSON).read_bytes()))
    except OSError as error:
        raise TlkerasError(f"{MODEL_JSON} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise TlkerasError(f"{MODEL_JSON} is damaged: {what_is_wrong(error)}") from error


def what_is_wrong(error: Exception) -> str:
    """Words an error of reading JSON: which entry is missing, what a ValueError says, or that it is another thing."""
    if isinstance(error, KeyError):
        return f"{error} is missing"
    return str(error) if isinstance(error, ValueError) else "it is not built as an export has it"


def _about(content: dict) -> About:
    classes, size, serving = content["classes"], content["image_size"], content["serving"]
    if missing := [name for name in _DESCRIBED if name not in content]:
        raise ValueError(f"{', '.join(missing)} missing")
    if odd := [name for name, kind in _DESCRIBED.items() if not isinstance(content[name], kind)]:
        raise ValueError(f"{', '.join(odd)}: not what an export has there")
    if not classes or not all(isinstance(name, str) for name in classes):
        raise ValueError("the classes are not names")
    if size is not None and (len(size) != 2 or not all(_is_whole(side, _LONGEST_SIDE) for side in size)):
        raise ValueError(f"image_size is {size}, not two numbers of 1 to {_LONGEST_SIDE:,}")
    if content["task"] != ("text" if size is None else "image"):
        raise ValueError(f"task is {content['task']!r} with an image_size of {size}")
    if content["card"].get("task", "image") != content["task"]:
        raise ValueError(f"task is {content['task']!r}, and {content['card'].get('task', 'image')!r} in the card")
    if odd := [name for name in _VERSIONS if not isinstance(content["versions"].get(name), str)]:
        raise ValueError(f"versions have no {', '.join(odd)}")
    datetime.datetime.fromisoformat(content["created"])
    temperature, max_pixels, unknown = serving["temperature"], serving.get("max_pixels"), serving["unknown"]
    if not (_is_number(temperature) and temperature > 0):
        raise ValueError(f"temperature is {temperature!r}, not a number above 0")
    if unknown is not None and not (unknown["score"] in SCORES and _is_number(unknown["threshold"])):
        raise ValueError(f"unknown is {unknown}, not a score and a threshold; scores: {', '.join(SCORES)}")
    if size is not None and not _is_whole(max_pixels, MOST_PIXELS):
        raise ValueError(f"max_pixels is {max_pixels!r}, not a number of 1 to {MOST_PIXELS:,}")
    if not _is_whole(serving["top_k"], 1000):
        raise ValueError(f"top_k is {serving['top_k']!r}, not a number of 1 to 1,000")
    if strange := [name for name in content["needs"] if name not in _KNOWN_NEEDS]:
        raise ValueError(f"needs {strange[0]!r}, which is unknown; legal: {', '.join(_KNOWN_NEEDS)}")
    return About(
        classes=classes,
        image_size=None if size is None else (size[0], size[1]),
        needs=list(content["needs"]),
        top_k=min(serving["top_k"], len(classes)),
        temperature=temperature,
        unknown=None if unknown is None else Threshold(**unknown),
        max_pixels=max_pixels,
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_whole(value: object, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most


def signatures(about: About) -> dict[str, Signature]:
    """Lists the signatures that an export must have."""
    strings = {about.takes: (tf.string, [None])}
    best = {"classes": (tf.string, [None, about.top_k]), "scores": (tf.float32, [None, about.top_k])}
    unknown = {"is_unknown": (tf.bool, [None])} if about.unknown else {}
    error = {} if about.is_text else {"error": (tf.string, [None])}
    probabilities = {"probabilities": (tf.float32, [None, len(about.classes)])}
    wanted = {
        "serving_default": Signature(PREDICT, strings, best | error | unknown),
        "probabilities": Signature(PREDICT, strings, probabilities),
        "features": Signature(PREDICT, strings, {"features": (tf.float32, [None, None])}),
        "classify": Signature(CLASSIFY, {"inputs": (tf.string, [None])}, best),
    }
    if not about.is_text:
        wanted["pixels"] = Signature(PREDICT, {"pixels": (tf.uint8, [None, None, None, 3])}, best | unknown)
    return wanted


def read_graph(export: Path) -> MetaGraphDef:
    """Reads the graph that TensorFlow Serving would load.

    Raises:
        TlkerasError: The file cannot be read, or has no such graph.
    """
    try:
        saved = SavedModel.FromString((export / "saved_model.pb").read_bytes())
    except OSError as error:
        raise TlkerasError(f"saved_model.pb cannot be read: {error.strerror}") from error
    except DecodeError as error:
        raise TlkerasError("saved_model.pb is damaged: it cannot be parsed") from error
    graphs = [graph for graph in saved.meta_graphs if list(graph.meta_info_def.tags) == ["serve"]]
    if len(graphs) != 1:
        raise TlkerasError(f"saved_model.pb has {len(graphs)} graphs with the tag serve alone; 1 is legal")
    return graphs[0]


def check_layout(export: Path, about: About) -> str:
    """Looks for the files, and compares the labels with the classes.

    Raises:
        TlkerasError: One is missing, or they differ.
    """
    names = ("saved_model.pb", "variables/variables.index", LABELS, MODEL_JSON, "assets.extra/golden.json")
    missing = [name for name in (*names, "assets.extra/tf_serving_warmup_requests") if not (export / name).is_file()]
    if not list((export / "variables").glob("variables.data-*")):
        missing.append("variables/variables.data-*")
    if missing:
        raise TlkerasError(f"missing: {', '.join(missing)}")
    check_labels(export, about)
    if (export / _FINGERPRINT).is_file():
        try:
            FingerprintDef.FromString((export / _FINGERPRINT).read_bytes())
        except DecodeError as error:
            raise TlkerasError(f"{_FINGERPRINT} is damaged: it cannot be parsed") from error
    size = sum(path.stat().st_size for path in export.rglob("*") if path.is_file())
    return f"{len(about.classes)} classes, {size / 1e6:.1f} MB"


def check_labels(export: Path, about: About) -> None:
    """Compares the labels with the classes.

    Raises:
        TlkerasError: They differ, or cannot be read.
    """
    try:
        labels = (export / LABELS).read_text("utf-8", "replace").split("\n")
    except OSError as error:
        raise TlkerasError(f"{LABELS} cannot be read: {error.strerror}") from error
    expected = [" ".join(name.splitlines()) for name in about.classes]
    if labels != [*expected, ""]:
        at = next((i for i, pair in enumerate(zip(labels, expected, strict=False)) if pair[0] != pair[1]), None)
        what = f"{labels[at]!r} on line {at + 1}, {expected[at]!r}" if at is not None else f"{len(labels) - 1} lines"
        raise TlkerasError(f"{LABELS} has {what}{'' if at is None else ' in model.json'}; {len(expected)} classes")


def check_signatures(graph: MetaGraphDef, about: About) -> str:
    """Compares names, methods, types and shapes with the contract.

    Raises:
        TlkerasError: They differ; all differences are told.
    """
    wanted, found = signatures(about), graph.signature_def
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    for name in wanted.keys() & found.keys():
        wrong += [f"{name}: {difference}" for difference in _differences(found[name], wanted[name])]
    if wrong:
        raise TlkerasError("; ".join(sorted(wrong)))
    return ", ".join(wanted)


def check_settings(graph: MetaGraphDef, about: About) -> str:
    """Compares the temperature and the threshold in the graph with those of `model.json`.

    Raises:
        TlkerasError: They differ.
    """
    wanted = {TEMPERATURE: {np.float32(about.temperature)}}
    wanted[THRESHOLD] = {np.float32(about.unknown.threshold)} if about.unknown else set()
    for name, values in wanted.items():
        found = _constants(graph, name)
        if found != values:
            said = [", ".join(f"{one:g}" for one in sorted(some)) or "none" for some in (found, values)]
            raise TlkerasError(f"the {name} of the graph is {said[0]}, that of model.json {said[1]}")
    told = f"unknown: {about.unknown.score} below {about.unknown.threshold:.4g}" if about.unknown else "none is unknown"
    return f"temperature {about.temperature:.4g}, {told}"


def _constants(graph: MetaGraphDef, name: str) -> set[np.float32]:
    nodes = (node for function in graph.graph_def.library.function for node in function.node_def)
    try:
        tensors = [
            tf.make_ndarray(node.attr["value"].tensor) for node in nodes if (node.op, node.name) == ("Const", name)
        ]
        return {np.float32(tensor.item()) for tensor in tensors}
    except (TypeError, ValueError) as error:
        raise TlkerasError(f"the {name} of the graph is no number") from error


def check_ops(graph: MetaGraphDef, about: About) -> str:
    """Looks for operations that TensorFlow Serving does not have.

    Raises:
        TlkerasError: There are some.
    """
    kinds = {node.op for node in graph.graph_def.node}
    library = graph.graph_def.library.function
    kinds |= {node.op for function in library for node in function.node_def}
    kinds -= {function.signature.name for function in library}
    others = {kind for kind in kinds if kind in _OF_PYTHON or not hasattr(tf.raw_ops, kind)}
    # The packages have been imported for the load.
    of_text = {kind for kind in others - _OF_PYTHON if op_def_registry.get(kind)} if about.needs else set()
    if others - of_text:
        raise TlkerasError(f"not in TensorFlow Serving: {', '.join(sorted(others - of_text))}")
    added = f", {len(of_text)} of TensorFlow Text: {', '.join(sorted(of_text))}" if of_text else ""
    return f"{len(kinds)} kinds, {len(kinds - of_text)} of TensorFlow's core{added}"


def _differences(found: SignatureDef, wanted: Signature) -> list[str]:
    wrong = []
    if found.method_name != wanted.method:
        wrong.append(f"method {found.method_name!r}, not {wanted.method}")
    for kind, infos, expected in (("input", found.inputs, wanted.inputs), ("output", found.outputs, wanted.outputs)):
        if infos.keys() != expected.keys():
            wrong.append(f"{kind}s {', '.join(sorted(infos))}, not {', '.join(sorted(expected))}")
        for name in infos.keys() & expected.keys():
            dtype, shape = tf.dtypes.as_dtype(infos[name].dtype), tf.TensorShape(infos[name].tensor_shape)
            if dtype != expected[name][0] or not _fits(shape, expected[name][1]):
                what = f"{kind} {name} is {dtype.name} {shape}"
                wrong.append(f"{what}, not {expected[name][0].name} {tf.TensorShape(expected[name][1])}")
    return wrong


def _fits(shape: tf.TensorShape, expected: list[int | None]) -> bool:
    """A batch may have any size; of the other sizes a graph need not know what the contract says."""
    if shape.rank != len(expected) or shape[0] is not None:
        return False
    return all(size is None or want is None or size == want for size, want in zip(shape[1:], expected[1:], strict=True))
