"""Evaluation: what a trained classifier does on examples that it has not seen, with the doubt that remains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import keras
import numpy as np

from tlkeras import metrics
from tlkeras.backbones.text import takes_texts
from tlkeras.data.pipeline import input_set
from tlkeras.engine.team import Team
from tlkeras.errors import TlkerasError
from tlkeras.metrics import Estimate
from tlkeras.precision import in_float32


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """Precision, recall and F1 of one class (0..1; 0 where undefined), and how many examples it has."""

    name: str
    precision: float
    recall: float
    f1: float
    support: int


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """The outcome of `evaluate`.

    `confusion[t, p]` counts the examples of class `t` taken for class `p`. `labels` (true class indices),
    `probabilities` `(count, classes)` and `names` stand in the order of the examples; they are for the report and do
    not go into `to_dict`.
    """

    classes: list[str]
    count: int
    loss: Estimate
    accuracy: Estimate
    top5: Estimate | None
    macro_f1: Estimate
    per_class: list[ClassScores]
    confusion: np.ndarray
    labels: np.ndarray = dataclasses.field(repr=False)
    probabilities: np.ndarray = dataclasses.field(repr=False)
    names: list[str] = dataclasses.field(repr=False)

    @property
    def headlines(self) -> dict[str, Estimate]:
        """The numbers that have an interval, under their names; top-5 only where there are more than five classes."""
        named = {"accuracy": self.accuracy, "top5": self.top5, "macro_f1": self.macro_f1, "loss": self.loss}
        return {name: estimate for name, estimate in named.items() if estimate is not None}

    def most_confused(self, limit: int = 10) -> list[tuple[str, str, int]]:
        """Pairs of a true and a predicted class that were mistaken most often, with the number of times."""
        errors = self.confusion - np.diag(np.diag(self.confusion))
        order = np.argsort(-errors, axis=None, kind="stable")[:limit]
        pairs = zip(*np.unravel_index(order, errors.shape), strict=True)
        return [(self.classes[t], self.classes[p], int(errors[t, p])) for t, p in pairs if errors[t, p]]

    def to_dict(self) -> dict:
        """Everything but the arrays of single examples, of plain types that go into JSON as they are."""
        return {
            "count": self.count,
            "confidence": metrics.CONFIDENCE,
            **{name: dataclasses.asdict(estimate) for name, estimate in self.headlines.items()},
            "classes": self.classes,
            "per_class": [dataclasses.asdict(scores) for scores in self.per_class],
            "confusion": self.confusion.tolist(),
        }


def evaluate(
    model: keras.Model,
    examples: Sequence,
    batch_size: int = 64,
    *,
    seed: int = 0,
    team: Team | None = None,
    answer: Callable[[keras.Model, Sequence], np.ndarray | None] | None = None,
) -> Evaluation:
    """Runs a classifier, in float32, over labelled examples and counts what it gets right.

    Args:
        model: Ends in the layer `logits`, a `ClassLogits`, whose class names are the ones that the labels mean.
        examples: Have a `name`, a `label` and a `path` (read with the same decode-and-resize as in training) or `text`.
        batch_size: Examples at a time; changes the memory, not the outcome.
        seed: Seeds the bootstrap of the intervals.
        team: The processes that judge a part of the examples each; this one all where not given.
        answer: Gives the logits of the model on examples in another way than a pass through all of it, or None where
            there is no other.

    Raises:
        TlkerasError: There are no examples, a label is none of the model's classes, or the model answers with NaN.
    """
    classes = model.get_layer("logits").classes
    labels = labels_of(examples, classes)
    team = team or Team()
    logits = np.zeros((0, len(classes)), np.float32)
    if part := team.part(examples):
        logits = logits_of(model, part, batch_size, answer)
    logits = team.together(logits)
    if not np.isfinite(logits).all():
        raise TlkerasError(
            "the model answers with NaN or infinity, so there is nothing to evaluate: its training diverged. "
            "Train again with a lower learning rate"
        )
    return judge(logits, labels, classes, [example.name for example in examples], seed=seed)


def logits_of(
    model: keras.Model,
    examples: Sequence,
    batch_size: int = 64,
    answer: Callable[[keras.Model, Sequence], np.ndarray | None] | None = None,
) -> np.ndarray:
    """Gives the logits of a classifier, in float32, on examples: `(count, classes)`. The arguments are `evaluate`'s."""
    exact = in_float32(model)
    found = answer(exact, examples) if answer else None
    if found is not None:
        return found
    inputs = input_set(examples, None if takes_texts(exact) else exact.input_shape[1:3], batch_size)
    return exact.predict(inputs, verbose=0)


def judge(
    logits: np.ndarray, labels: np.ndarray, classes: Sequence[str], names: Sequence[str], *, seed: int = 0
) -> Evaluation:
    """Computes an evaluation from finite logits `(count, classes)` and the true class index of each example."""
    # Not scikit-learn's, which takes a second to import.
    confusion = metrics.confusion(labels, logits.argmax(axis=-1), len(classes))
    estimates = metrics.headlines(logits, labels, seed)
    return Evaluation(
        classes=list(classes),
        count=len(labels),
        loss=estimates["loss"],
        accuracy=estimates["accuracy"],
        top5=estimates.get("top5"),
        macro_f1=estimates["macro_f1"],
        per_class=[
            ClassScores(name, float(precision), float(recall), float(f1), int(support))
            for name, precision, recall, f1, support in zip(classes, *metrics.per_class(confusion), strict=True)
        ],
        confusion=confusion,
        labels=labels,
        probabilities=metrics.softmax(logits),
        names=list(names),
    )


def labels_of(examples: Sequence, classes: Sequence[str]) -> np.ndarray:
    """Gives the index of the class of each example.

    Raises:
        TlkerasError: There are no examples, or a label is none of the classes.
    """
    if not examples:
        raise TlkerasError("there is nothing to evaluate: the part has no examples")
    unknown = sorted({example.label for example in examples} - set(classes))
    if unknown:
        raise TlkerasError(
            f"the data has labels that the model does not know: {', '.join(unknown)}. "
            f"The model's classes: {', '.join(classes)}"
        )
    index = {name: i for i, name in enumerate(classes)}
    return np.array([index[example.label] for example in examples], np.int64)
