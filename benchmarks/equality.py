"""The same training by one process, by workers, and by devices of one machine: how far their results are apart.

    python benchmarks/equality.py DATA OUTPUT [OPTION ...]

OPTION is one of `tlkeras train`; dropout, augmentation and stored features are off. Prints for 2 and 4 workers and for
2 logical devices the largest relative difference from one process of the losses and accuracies of all epochs, of the
figures of the test part, and of the weights: of each tensor, the largest difference divided by its largest weight. The
last row is one process again, whose backbone begins with every weight changed by its last bit: what rounding may do.
"""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np

from tlkeras import backbones, zoo

TRAIN = [sys.executable, "-c", "from tlkeras.cli import main; main()", "train"]
LAUNCH = [sys.executable, "-m", "tlkeras.cluster.launch"]
WAYS = {
    "1 process": [],
    "2 workers": [*LAUNCH, "2", "--"],
    "4 workers": [*LAUNCH, "4", "--"],
    "cpu:2": [],
    "last bit": [],
}


def train(way: str, data: str, folder: Path, options: list[str]) -> None:
    if way.startswith("cpu"):
        options = [*options, "--devices", way]
    if way == "last bit":
        options = [*options, "--weights", str(changed_by_a_bit(folder.parent))]
    command = [*WAYS[way], *TRAIN, data, "--dropout", "0", "--features", "off"]
    command += ["--output", str(folder), "--resume", *options]
    subprocess.run(command, check=True, stdout=sys.stderr)


def changed_by_a_bit(folder: Path, backbone: str = "efficientnet_lite0") -> Path:
    """Writes the weights of a backbone, each moved to one of its two neighbours in float32."""
    model, random = backbones.load(zoo.card(backbone)).model, np.random.default_rng(0)
    for variable in model.weights:
        value = variable.numpy()
        towards = np.where(random.random(value.shape) < 0.5, np.inf, -np.inf)
        variable.assign(np.nextafter(value, towards.astype("float32")))
    folder.mkdir(parents=True, exist_ok=True)
    model.save_weights(folder / "bit.weights.h5")
    return folder / "bit.weights.h5"


def figures(folder: Path) -> dict[str, list[np.ndarray]]:
    with (folder / "history.csv").open() as file:
        rows = [[float(value) for key, value in row.items() if key != "seconds"] for row in csv.DictReader(file)]
    metrics = json.loads((folder / "metrics.json").read_text())
    model = keras.saving.load_model(folder / "model.keras", compile=False)
    return {
        "history": [np.array(column) for column in zip(*rows, strict=True)],
        "test": [np.array([metrics[name]["value"] for name in ("loss", "accuracy", "macro_f1")])],
        "weights": model.get_weights(),
    }


def difference(ours: list[np.ndarray], theirs: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() / max(np.abs(b).max(), 1e-12) for a, b in zip(ours, theirs, strict=True))


def main(data: str, output: str, *options: str) -> None:
    found = {}
    for way in WAYS:
        folder = Path(output, way.replace(" ", "-").replace(":", "-"))
        train(way, data, folder, list(options))
        found[way] = figures(folder)
    print("difference".ljust(12), *(name.rjust(10) for name in found["1 process"]))
    for way in list(WAYS)[1:]:
        apart = [difference(found[way][name], found["1 process"][name]) for name in found[way]]
        print(way.ljust(12), *(f"{value:10.1e}" for value in apart))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
