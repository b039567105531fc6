"""Sustained load on an export in the C runtime, beside SavedModels of the same model that guard against nothing."""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import tensorflow as tf

from tlkeras import consoles
from tlkeras.backbones.text import needs
from tlkeras.data.images import decode_and_resize
from tlkeras.export import golden
from tlkeras.export.contract import read_about
from tlkeras.export.messages import predict_log
from tlkeras.export.native_runtime import sustained_load
from tlkeras.export.serving import TOP_K
from tlkeras.precision import in_float32
from tlkeras.run import Run

BATCH_SIZES = (1, 16)
# Different batches that are asked in turn.
_REQUESTS = 8


def run(folder: Path, version: Path, files: Sequence[Path], seconds: float, rounds: int, threads: int) -> None:
    """Measures in alternating rounds, and prints the medians and how the export compares."""
    about = read_about(version)
    for package in about.needs:
        needs(package)
    recorded = golden.read(version)
    good = [request for request, error in zip(recorded.requests, recorded.errors, strict=True) if not error]
    contents = [file.read_bytes() for file in files] or good
    model = in_float32(Run(folder).model)
    with tempfile.TemporaryDirectory() as scratch:
        ways = {"export": version}
        for name, read in _readers(model, about.is_text).items():
            ways[name] = Path(scratch, name.replace(" ", "-"))
            _save(model, read, about.takes, ways[name])
        table = consoles.table(
            "batch", "model", "rows/s", "of bare", "of unguarded", "p50 ms", "p99 ms", words=("model",)
        )
        for size in BATCH_SIZES:
            rows = [[contents[(start + i) % len(contents)] for i in range(size)] for start in range(_REQUESTS)]
            logs = [predict_log("serving_default", {about.takes: batch}).SerializeToString() for batch in rows]
            found = {name: [] for name in ways}
            for number in range(rounds):
                # The order turns, so that none always has the machine as another left it.
                for name in sorted(ways, key=lambda name: (list(ways).index(name) + number) % len(ways)):
                    found[name].append(sustained_load(ways[name], logs, seconds, threads, about.needs))
                    if found[name][-1]["refused"]:
                        sys.exit(f"{name} refused a request")
                    print(f"batch {size}, {name}: {found[name][-1]}", file=sys.stderr, flush=True)
            for name, results in found.items():
                _add(table, size, name, results, found)
    consoles.make().print(table)


def _add(table, size: int, name: str, results: list[dict], found: dict[str, list[dict]]) -> None:
    def middle(key: str) -> float:
        return statistics.median(result[key] for result in results)

    def of(other: str) -> str:
        pairs = zip(results, found.get(other, []), strict=False)
        ratios = [mine["rows_per_second"] / its["rows_per_second"] for mine, its in pairs]
        return f"{statistics.median(ratios):.3f}" if ratios else ""

    speed = f"{middle('rows_per_second'):.1f}"
    table.add_row(
        str(size), name, speed, of("bare"), of("unguarded"), f"{middle('p50_ms'):.1f}", f"{middle('p99_ms'):.1f}"
    )


def _readers(model: keras.Model, is_text: bool) -> dict[str, Callable]:
    """What turns strings into inputs: as in a tutorial, and as tlkeras does in training, where all files are good."""
    if is_text:
        return {"bare": tf.identity}
    size = model.input_shape[1:3]
    spec = tf.TensorSpec([*size, 3], tf.float32)

    def plain(one):
        return tf.image.resize(tf.io.decode_jpeg(one, channels=3), size)

    return {
        "bare": lambda strings: tf.map_fn(plain, strings, fn_output_signature=spec),
        "unguarded": lambda strings: tf.map_fn(
            lambda one: decode_and_resize(one, size), strings, fn_output_signature=spec
        ),
    }


def _save(model: keras.Model, read: Callable, takes: str, folder: Path) -> None:
    classes = model.get_layer("logits").classes

    def answer(strings):
        scores, best = tf.math.top_k(tf.nn.softmax(model(read(strings), training=False)), min(TOP_K, len(classes)))
        return {"classes": tf.gather(tf.constant(classes), best), "scores": scores}

    module = tf.Module()
    module.weights = [variable.value for variable in model.variables]
    function = tf.function(answer, input_signature=[tf.TensorSpec([None], tf.string, name=takes)], autograph=False)
    tf.saved_model.save(module, str(folder), {"serving_default": function.get_concrete_function()})
