"""Export to a SavedModel that takes image files or texts, is checked against the model, and then gets a number."""

from __future__ import annotations

import dataclasses
import datetime
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

import tlkeras
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.export import parity
from tlkeras.export.serving import Serving
from tlkeras.versions import publish

MODEL_JSON = "assets.extra/model.json"


@dataclasses.dataclass(frozen=True)
class Exported:
    """A version that was written, and how it compared with the model."""

    path: Path
    parity: parity.Parity


def export(
    model: keras.Model, folder: Path, check_with: Sequence[Path | str], *, metadata: dict | None = None
) -> Exported:
    """Writes the next numbered version of a model for TensorFlow Serving, once it has been seen to answer as the model.

    The signatures are those of `tlkeras.export.serving.Serving`. The class names stand in `assets/labels.txt` too, one
    a line; `assets.extra/model.json` has the card, the classes, the image size, how the export was
    checked, and which Python packages beside TensorFlow must be imported before it is loaded.

    Args:
        model: A classifier made by `tlkeras.build`, or of the same layout.
        folder: Gets the versions: `folder/1` first.
        check_with: Image files, or texts, on which the export is compared with the model, some dozens for good measure.
        metadata: Goes into `model.json` as it is.

    Raises:
        ParityError: The export answers differently from the model. It is then removed.
        TlkerasError: The folder cannot be written, or a file to check with cannot be read. Nothing is left behind.
    """

    def fill(aside: Path) -> parity.Parity:
        _save(Serving(model), model.get_layer("logits").classes, aside)
        checked = parity.check(aside, model, check_with)
        about = _describe(model, checked, metadata)
        path = aside / MODEL_JSON
        path.parent.mkdir()
        path.write_text(json.dumps(about, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        return checked

    try:
        return Exported(*publish(Path(folder), fill))
    except (OSError, tf.errors.OpError) as error:
        why = error.strerror if isinstance(error, OSError) else in_one_line(error)
        raise TlkerasError(f"the export to {folder} failed, and nothing of it was kept: {why}") from error


def _save(serving: Serving, classes: Sequence[str], folder: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        labels = Path(scratch, "labels.txt")
        labels.write_text("".join(f"{' '.join(name.splitlines())}\n" for name in classes), encoding="utf-8")
        serving.labels = tf.saved_model.Asset(str(labels))
        serving.save(str(folder))


def _describe(model: keras.Model, checked: parity.Parity, metadata: dict | None) -> dict:
    preprocess = model.get_layer("preprocess")
    return {
        "classes": model.get_layer("logits").classes,
        "image_size": list(model.input_shape[1:3]),
        "needs": sorted({layer.needs for layer in model.layers if hasattr(layer, "needs")}),
        "card": preprocess.card,
        "recipe": preprocess.recipe,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"tlkeras": tlkeras.__version__, "keras": keras.__version__, "tensorflow": tf.__version__},
        "parity": dataclasses.asdict(checked),
        "metadata": metadata or {},
    }
