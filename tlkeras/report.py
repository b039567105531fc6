"""The report of a run: one HTML file that needs nothing beside it, to keep, to send and to print."""

from __future__ import annotations

import dataclasses
import datetime
import importlib.resources
from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
import keras
import numpy as np
import tensorflow as tf

from tlkeras import __version__, pictures
from tlkeras.data.dataset import Data, Example
from tlkeras.evaluate import Evaluation
from tlkeras.files import atomic_write
from tlkeras.text_files import beginning

_TITLES = {"accuracy": "Accuracy", "top5": "Top-5 accuracy", "macro_f1": "Macro F1", "loss": "Loss"}
_CURVES = ("accuracy", "loss")
_WIDEST_TABLE = 20
_MOST_MISTAKES = 24
_MOST_EXCLUDED = 500
_MOST_LETTERS = 300


@dataclasses.dataclass(frozen=True)
class Mistake:
    """An image or text that was taken for another class: what it is, names, and the probabilities of both classes."""

    picture: str | None
    text: str | None
    name: str
    true: str
    predicted: str
    score: float
    true_score: float


def write(
    path: Path,
    *,
    title: str,
    spec: str,
    history: Mapping[str, Sequence[float]],
    evaluation: Evaluation,
    data: Data,
    fine_tuning_from: int | None = None,
) -> None:
    """Writes the report: headline numbers, learning curves, confusions, classes, the worst mistakes, data and spec.

    Args:
        path: The HTML file.
        title: What was trained on what.
        spec: The spec of the run as TOML.
        history: Figures of each epoch by their names in Keras: `accuracy`, `val_accuracy`, `loss`, `val_loss`.
        evaluation: Of the model on the test part of `data`.
        data: What the run was trained and judged on.
        fine_tuning_from: First epoch of fine-tuning, counted from 1; None where there was none.

    Raises:
        OSError: The file cannot be written; what stood there before still does.
    """
    curves = [
        pictures.learning_curve(name, history[name], history.get(f"val_{name}", []), fine_tuning_from)
        for name in _CURVES
        if len(history.get(name, []))
    ]
    shares = evaluation.confusion / np.maximum(evaluation.confusion.sum(axis=1, keepdims=True), 1)
    large = len(evaluation.classes) > _WIDEST_TABLE
    page = _template().render(
        title=title,
        spec=spec.strip(),
        evaluation=evaluation,
        headlines=[(_TITLES[name], name, estimate) for name, estimate in evaluation.headlines.items()],
        shares=shares,
        curves=curves,
        confusion=pictures.confusion_picture(shares) if large else None,
        mistakes=worst_mistakes(evaluation, data.parts["test"]),
        wrong=int(evaluation.count - np.trace(evaluation.confusion)),
        data=data,
        counts=data.counts(),
        excluded=data.excluded[:_MOST_EXCLUDED],
        made=datetime.datetime.now().astimezone().strftime("%Y-%m-%d %H:%M"),
        versions={"tlkeras": __version__, "Keras": keras.__version__, "TensorFlow": tf.__version__},
    )
    atomic_write(path, page)


def worst_mistakes(evaluation: Evaluation, examples: Sequence[Example], limit: int = _MOST_MISTAKES) -> list[Mistake]:
    """Picks the wrongly classified examples to which the model gave the least probability for what they are.

    Args:
        evaluation: Of these examples, in this order.
        examples: The images or texts.
        limit: How many to pick.
    """
    predicted = evaluation.probabilities.argmax(axis=1)
    true_scores = evaluation.probabilities[np.arange(evaluation.count), evaluation.labels]
    wrong = np.flatnonzero(predicted != evaluation.labels)
    worst = wrong[np.argsort(true_scores[wrong], kind="stable")][:limit]
    return [
        Mistake(
            picture=pictures.thumbnail(examples[i].path) if examples[i].text is None else None,
            text=None if examples[i].text is None else beginning(examples[i].text, _MOST_LETTERS),
            name=evaluation.names[i],
            true=evaluation.classes[evaluation.labels[i]],
            predicted=evaluation.classes[predicted[i]],
            score=float(evaluation.probabilities[i, predicted[i]]),
            true_score=float(true_scores[i]),
        )
        for i in worst
    ]


def _template() -> jinja2.Template:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    source = importlib.resources.files("tlkeras").joinpath("report.html").read_text("utf-8")
    return environment.from_string(source)
