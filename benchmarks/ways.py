"""The ways that `peers.py` compares, and the work that each of them does: which command, and in which folder."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).parent / "peers"
# What a new user has before the first training on new data.
KEPT = ("weights",)
_TUNED = 5e-4


@dataclass(frozen=True)
class Workload:
    """What is to be done.

    Attributes:
        name: The name on the command line.
        title: The name in the table.
        data: `flowers` or `cifar`.
        image_size: Pixels a side.
        epochs: Of the ways that train in epochs.
        seed: Of head and order.
        tuned: Whether the last two stages train as well.
        base: The workload that costs those the same who keep nothing.
    """

    name: str
    title: str
    data: str = "flowers"
    image_size: int = 224
    epochs: int = 10
    seed: int = 0
    tuned: bool = False
    base: str = ""


WORKLOADS = {
    work.name: work
    for work in (
        Workload("probe", "linear probe, 10 epochs' worth, 224 pixels, nothing kept"),
        Workload("again", "the same data again, another seed", seed=1, base="probe"),
        Workload("tune", "the last two stages and the head, 5 epochs", epochs=5, tuned=True),
        Workload("cifar", "linear probe, 10 epochs' worth, 96 pixels", data="cifar", image_size=96),
        Workload("predict", "the classes of all photos by the trained model", epochs=0),
    )
}


@dataclass(frozen=True)
class Place:
    """Where a way finds and leaves things.

    Attributes:
        work: What `prepare` has made.
        data: Folder with `train/` and `test/`.
        torch: The Python with torch and efficientnet_lite_pytorch.
    """

    work: Path
    data: Path
    torch: str = sys.executable


@dataclass(frozen=True)
class Way:
    """A way to do the work.

    Attributes:
        title: The name in the table.
        command: Gives the command.
        workloads: Those that it can do.
        needs: Packages that must be installed.
        keeps: Whether it keeps features for a second time.
    """

    title: str
    command: Callable[[Workload, Place], list]
    workloads: tuple[str, ...] = ("probe", "cifar")
    needs: tuple[str, ...] = ()
    keeps: bool = False

    def missing(self) -> list[str]:
        """Lists the packages that are not there."""
        return [package for package in self.needs if importlib.util.find_spec(package) is None]


def _keras(work: Workload, place: Place, *options: str) -> list:
    script = [sys.executable, PEERS / "keras_tutorial.py"]
    if work.name == "predict":
        return [*script, "predict", place.work / "trained.keras", place.data]
    tuned = ["--unfreeze", "stage6", "stage7", "top", "--learning-rate", _TUNED] if work.tuned else []
    base = place.work / f"base-{work.image_size}.keras"
    return [*script, "train", base, place.data, *_common(work), *tuned, *options]


def _keras_no_xla(work: Workload, place: Place) -> list:
    return _keras(work, place, "--no-xla")


def _legacy(work: Workload, place: Place) -> list:
    return [sys.executable, PEERS / "legacy_hub.py", place.work / "module", place.data, *_common(work)]


def _torch(work: Workload, place: Place) -> list:
    (weights,) = (place.work / "home" / "weights").glob("efficientnet_lite0*.pth")
    tuned = ["--tuned", "--learning-rate", _TUNED] if work.tuned else []
    return [place.torch, PEERS / "pytorch.py", weights, place.data, *_common(work), *tuned]


def _common(work: Workload) -> list:
    return ["--image-size", work.image_size, "--epochs", work.epochs, "--seed", work.seed]


def _by_hand(engine: str, suffix: str, *options: str) -> Callable[[Workload, Place], list]:
    def command(work: Workload, place: Place) -> list:
        what, stem = ("predict", "trained") if work.name == "predict" else ("train", f"base-{work.image_size}")
        script = [sys.executable, PEERS / "by_hand.py", what, engine, (place.work / stem).with_suffix(suffix)]
        return [*script, place.data, "--image-size", work.image_size, *options]

    return command


def _ours(engine: str, *options: str) -> Callable[[Workload, Place], list]:
    def command(work: Workload, place: Place) -> list:
        ours = [_tlkeras()]
        if work.name == "predict":
            return [*ours, "predict", "--json", place.work / "trained", *_both(place)]
        tuned = ["--trainable", "top:2", "--learning-rate", _TUNED] if work.tuned else []
        run = ["train", place.data, "--output", place.work / "run", "--engine", engine]
        return [*ours, *run, *_common(work), *tuned, *options]

    return command


def _exported(work: Workload, place: Place) -> list:
    return [_tlkeras(), "predict", "--json", place.work / "trained" / "export" / "1", *_both(place)]


def _both(place: Place) -> list:
    return [place.data / "train", place.data / "test"]


def _tlkeras() -> Path:
    return Path(sys.executable).with_name("tlkeras")


_SHORT = ("--no-export", "--no-report")
_TRAINS = ("probe", "again", "tune", "cifar")
_HAND = ("probe", "cifar", "predict")

WAYS = {
    "keras": Way("Keras tutorial", _keras, ("probe", "tune", "cifar", "predict")),
    "keras-no-xla": Way("Keras tutorial, XLA switched off", _keras_no_xla, ("probe", "tune", "cifar")),
    "legacy": Way("tf_keras, `hub.KerasLayer`", _legacy, needs=("tf_keras", "tensorflow_hub")),
    "torch": Way("PyTorch", _torch, ("probe", "tune", "cifar")),
    "hand-tensorflow": Way("by hand, TensorFlow", _by_hand("tensorflow", ".keras"), _HAND, ("sklearn",)),
    "hand-onnxruntime": Way(
        "by hand, ONNX Runtime, from .onnx", _by_hand("onnxruntime", ".onnx"), _HAND, ("sklearn", "onnxruntime")
    ),
    "hand-onnxruntime-keras": Way(
        "by hand, ONNX Runtime, from Keras",
        _by_hand("onnxruntime", ".keras"),
        _HAND,
        ("sklearn", "onnxruntime", "tf2onnx"),
    ),
    "hand-openvino-float32": Way(
        "by hand, OpenVINO float32, from .xml", _by_hand("openvino", ".xml"), _HAND, ("sklearn", "openvino")
    ),
    "hand-openvino": Way(
        "by hand, OpenVINO bfloat16, from .xml",
        _by_hand("openvino", ".xml", "--bfloat16"),
        _HAND,
        ("sklearn", "openvino"),
    ),
    "hand-openvino-keras": Way(
        "by hand, OpenVINO bfloat16, from Keras",
        _by_hand("openvino", ".keras", "--bfloat16"),
        _HAND,
        ("sklearn", "openvino"),
    ),
    "tlkeras-tensorflow": Way("tlkeras, TensorFlow", _ours("tensorflow", *_SHORT), _TRAINS, keeps=True),
    "tlkeras-onnxruntime": Way(
        "tlkeras, ONNX Runtime", _ours("onnxruntime", *_SHORT), _TRAINS, ("onnxruntime", "tf2onnx"), keeps=True
    ),
    "tlkeras-openvino": Way("tlkeras, OpenVINO", _ours("openvino", *_SHORT), _TRAINS, ("openvino",), keeps=True),
    "tlkeras-auto": Way("tlkeras", _ours("auto", *_SHORT), (*_TRAINS, "predict"), keeps=True),
    "tlkeras-features-off": Way(
        "tlkeras, all of the model in each epoch", _ours("auto", *_SHORT, "--features", "off"), ("tune",), keeps=True
    ),
    "tlkeras-tensorflow-all": Way(
        "tlkeras, TensorFlow, with export and report", _ours("tensorflow"), _TRAINS, keeps=True
    ),
    "tlkeras-auto-all": Way("tlkeras, with export and report", _ours("auto"), _TRAINS, keeps=True),
    "tlkeras-export": Way("tlkeras, from the export", _exported, ("predict",)),
}


def clear(work: Workload, place: Place, home: Path) -> None:
    """Leaves a way what it would find: of the cache only the weights, unless it has seen the data; and no run."""
    shutil.rmtree(place.work / "run", ignore_errors=True)
    home.mkdir(parents=True, exist_ok=True)
    if not work.base:
        for path in home.iterdir():
            if path.name not in KEPT:
                shutil.rmtree(path)
    shutil.copytree(place.work / "home" / "weights", home / "weights", dirs_exist_ok=True)


def accuracy(printed: str) -> float:
    """Finds the accuracy in what a way printed: its last one, or, of `tlkeras predict`, the share of right answers.

    Raises:
        ValueError: There is none.
    """
    if found := re.findall(r"^(?:test )?accuracy (\d\.\d+)", printed, re.MULTILINE):
        return float(found[-1])
    answers = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    if not answers:
        raise ValueError("it printed no accuracy")
    return sum(answer["classes"][0] == Path(answer["file"]).parent.name for answer in answers) / len(answers)
