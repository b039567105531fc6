"""Export to a SavedModel that takes image files or texts, is checked against the model, and then gets a number."""

from __future__ import annotations

import dataclasses
import datetime
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

import tlkeras
from tlkeras import consoles, unknown, versions
from tlkeras.backbones.text import takes_texts
from tlkeras.data import untrusted
from tlkeras.errors import TlkerasError, TlkerasWarning, in_one_line, os_reason
from tlkeras.export import examples, golden, parity, serve_check, warmup
from tlkeras.export.contract import MODEL_JSON
from tlkeras.export.python_runtime import PythonRuntime
from tlkeras.export.serving import TOP_K, Serving, Settings
from tlkeras.files import atomic_write, check_name

# As far from a threshold no two computations of a score disagree; and so many inputs next to it are looked at.
_CLEAR, _NEAR = 1e-3, 4


@dataclasses.dataclass(frozen=True)
class Exported:
    """A version that was written, how it compared with the model, and how each of its checks came out.

    `removed` are the numbers of older versions that it took the place of; `figures` those of `tlkeras.doubt`.
    """

    path: Path
    parity: parity.Parity
    checks: list[serve_check.Check]
    removed: list[int] = dataclasses.field(default_factory=list)
    figures: dict = dataclasses.field(default_factory=dict)


def export(
    model: keras.Model,
    folder: Path,
    check_with: Sequence[Path | str],
    *,
    settings: Settings | None = None,
    metadata: dict | None = None,
    keep: int | None = None,
    proven: bool = True,
) -> Exported:
    """Writes the next numbered version of a model for TensorFlow Serving, once it has been seen to answer as the model.

    The signatures are those of `tlkeras.export.serving.Serving`. Beside the graph lie the class names, one a line
    (`assets/labels.txt`), and in `assets.extra/` requests that TensorFlow Serving warms up with, requests with the
    answers that the model gave (`golden.json`), and `model.json`: the card, the classes, the image size, how the export
    is served and was checked, and which Python packages beside TensorFlow must be imported before it is loaded.

    Args:
        model: A classifier made by `tlkeras.build`, or of the same layout.
        folder: Gets the versions: `folder/1` first.
        check_with: Image files, or texts, on which the export is compared with the model, some dozens for good measure.
        settings: How the model is served.
        metadata: Goes into `model.json` as it is, such as metrics.
        keep: How many versions stay in the folder; all of them where not given.
        proven: Make all checks of `tlkeras.export.serve_check`; without them it is compared with the model alone.

    Raises:
        ParityError, ServeCheckError: The export answers differently from the model, or a check of it failed. It is then
            removed.
        TlkerasError: The folder cannot be written, or a file to check with cannot be read. Nothing is left behind.
    """
    if keep is not None and keep < 1:
        raise TlkerasError(f"keep is the number of versions that stay, 1 or more. Received: {keep}")
    check_name(folder)
    settings = settings or Settings()

    def fill(aside: Path) -> tuple[parity.Parity, list[serve_check.Check]]:
        serving = Serving(model, settings)
        serving.save(aside)
        loaded = PythonRuntime(aside)
        strings = parity.read(check_with, takes_texts(model))
        ask = parity.asker_of(model)
        _, logits = ask(strings)
        compared = parity.check(aside, model, check_with, settings.temperature, loaded=loaded, logits=logits)
        about = _describe(model, compared, settings, metadata)
        atomic_write(aside / MODEL_JSON, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
        near = [strings[place] for place in _next_to_bounds(logits, settings, _NEAR)]
        _write_requests(aside, model, ask, examples.spread(strings, examples.COUNT), near, settings)
        checks = serve_check.serve_check(aside, latency=False, python=loaded) if proven else ()
        return compared, serve_check.require(checks)

    try:
        # One of the golden requests is cut off, which libjpeg has something to say about.
        with consoles.no_native_standard_error():
            path, (compared, checks) = versions.publish(Path(folder), fill)
    except (OSError, tf.errors.OpError) as error:
        why = os_reason(error) if isinstance(error, OSError) else in_one_line(error)
        raise TlkerasError(f"the export to {folder} failed, and nothing of it was kept: {why}") from error
    return Exported(path, compared, checks, _prune(Path(folder), keep) if keep else [])


def _prune(folder: Path, keep: int) -> list[int]:
    try:
        return versions.prune(folder, keep)
    except OSError as error:
        # The new version is there all the same.
        warnings.warn(f"older versions in {folder} cannot be removed: {os_reason(error)}", TlkerasWarning, stacklevel=3)
        return []


def _next_to_bounds(logits: np.ndarray, settings: Settings, most: int = 1) -> list[int]:
    """Finds the inputs by which temperature and threshold show: the least sure, and the next on both sides."""
    places = [np.argsort(unknown.scores(logits, "max-softmax", settings.temperature), kind="stable")[:most]]
    if settings.unknown:
        above = unknown.scores(logits, settings.unknown.score, settings.temperature) - settings.unknown.threshold
        for distance in (above, -above):
            nearest = np.argsort(np.where(distance > _CLEAR, distance, np.inf), kind="stable")[:most]
            places.append(nearest[distance[nearest] > _CLEAR])
    return list(dict.fromkeys(np.concatenate(places).tolist()))


def _write_requests(
    aside: Path,
    model: keras.Model,
    ask: Callable[[Sequence[bytes]], tuple[np.ndarray, np.ndarray]],
    strings: Sequence[bytes],
    near: Sequence[bytes],
    settings: Settings,
) -> None:
    """Writes requests to warm up with, and some with the answers of the model: good inputs, and one that is none.

    Args:
        aside: The version.
        model: The model.
        ask: Gives the features and the logits of the model.
        strings: Some inputs, all of which are asked for.
        near: Others that may be next to the threshold; of these and of mixtures of the inputs the next are asked for.
        settings: How the model is served.
    """
    is_text, classes = takes_texts(model), model.get_layer("logits").classes
    if is_text:
        image_size, plain = None, list(strings)
        others = [*near, *examples.mixed_texts(plain)]
    else:
        image_size = tuple(model.input_shape[1:3])
        plain = [examples.small(one, image_size) for one in strings]
        # Of the small ones the scores are others.
        others = [examples.small(one, image_size) for one in near]
        others += examples.mixed(plain, image_size, settings.max_pixels)
    warmup.write(aside, plain[0] if is_text else min(plain, key=len), is_text, image_size)
    others = [one for one in dict.fromkeys(others) if one not in plain]
    odd = [] if is_text else examples.odd(plain[0], image_size, settings.max_pixels)
    # What is asked, and what the model sees of it.
    asked = [*((one, one) for one in (*plain, *others)), *odd]
    features, logits = ask([shown for _, shown in asked])
    of_others = len(plain) + np.arange(len(others))
    bounds = _next_to_bounds(logits[: len(plain) + len(others)], settings)
    rows = [row for row in range(len(asked)) if row not in of_others or row in bounds]
    requests, errors = [asked[row][0] for row in rows], [""] * len(rows)
    logits, features = logits[rows], features[rows]
    if not is_text:
        requests, errors = [*requests, examples.BAD], [*errors, untrusted.NO_IMAGE]
        logits, features = (np.pad(rows, ((0, 1), (0, 0))) for rows in (logits, features))
    how = settings.temperature, settings.unknown
    golden.write(aside, requests, logits, features, errors, classes, TOP_K, is_text, *how)


def _describe(model: keras.Model, compared: parity.Parity, settings: Settings, metadata: dict | None) -> dict:
    preprocess = model.get_layer("preprocess")
    is_text = takes_texts(model)
    serving = {"top_k": TOP_K, **dataclasses.asdict(settings)}
    if is_text:
        del serving["max_pixels"]
    return {
        "task": "text" if is_text else "image",
        "classes": model.get_layer("logits").classes,
        "image_size": None if is_text else list(model.input_shape[1:3]),
        "needs": sorted({layer.needs for layer in model.layers if hasattr(layer, "needs")}),
        "serving": serving,
        "card": preprocess.card,
        "recipe": preprocess.recipe,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"tlkeras": tlkeras.__version__, "keras": keras.__version__, "tensorflow": tf.__version__},
        "parity": dataclasses.asdict(compared),
        **{"metrics": {}, "data": {}, **(metadata or {})},
    }
