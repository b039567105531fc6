"""Requests with the answers that the Keras model gave at export: assets.extra/golden.json."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tlkeras.errors import TlkerasError
from tlkeras.export.contract import what_is_wrong
from tlkeras.files import atomic_write
from tlkeras.metrics import softmax
from tlkeras.unknown import Threshold

FILE = "assets.extra/golden.json"
TOLERANCE = 1e-4


@dataclasses.dataclass(frozen=True)
class Golden:
    """Requests and answers, row by row.

    Attributes:
        requests: Image files, or texts in UTF-8.
        logits: float32 `(requests, classes)`; 0 where there is an error.
        probabilities: float32, of the same shape: what they are at the temperature; 0 where there is an error.
        features: float32 `(requests, channels)`; 0 where there is an error.
        classes: The best classes of each, best first; empty strings where there is an error.
        scores: float32, of the same shape: theirs.
        errors: Empty where the model answered.
        is_unknown: Whether it is none of the classes, where the export says so.
        is_text: Whether the requests are texts.
        tolerance: Largest difference of a probability that passes.
    """

    requests: list[bytes]
    logits: np.ndarray
    probabilities: np.ndarray
    features: np.ndarray
    classes: list[list[str]]
    scores: np.ndarray
    errors: list[str]
    is_unknown: np.ndarray | None
    is_text: bool
    tolerance: float = TOLERANCE


def write(
    folder: Path,
    requests: Sequence[bytes],
    logits: np.ndarray,
    features: np.ndarray,
    errors: Sequence[str],
    classes: Sequence[str],
    top_k: int,
    is_text: bool,
    temperature: float = 1.0,
    unknown: Threshold | None = None,
) -> None:
    """Writes what the model said.

    Args:
        folder: The version, `EXPORT/N`.
        requests: Image files, or texts in UTF-8.
        logits: `(requests, classes)`; rows with an error count as 0.
        features: `(requests, channels)`, likewise.
        errors: One for each request: why it has no answer, or an empty string.
        classes: The names, in the order of the logits.
        top_k: How many of them an answer names.
        is_text: Whether the requests are texts.
        temperature: What the logits are divided by.
        unknown: What tells inputs that are none of the classes, where the export does.
    """
    answers = []
    logits = np.asarray(logits, np.float32)
    rows = logits, softmax(logits / np.float32(temperature)), np.asarray(features, np.float32)
    for told, row, embedding, error in zip(*rows, errors, strict=True):
        best = np.argsort(-row, kind="stable")[:top_k]
        answers.append(
            {
                "logits": _numbers(told * (not error)),
                "probabilities": _numbers(row * (not error)),
                "features": _numbers(embedding * (not error)),
                "classes": ["" if error else classes[i] for i in best],
                "scores": _numbers(row[best] * (not error)),
                "error": error,
            }
        )
        if unknown:
            answers[-1]["is_unknown"] = bool(error) or bool(unknown.tell(told[np.newaxis], temperature)[0])
    asked = [
        {"text": request.decode("utf-8", "surrogateescape")}
        if is_text
        else {"image_bytes": base64.b64encode(request).decode()}
        for request in requests
    ]
    content = {"tolerance": TOLERANCE, "requests": asked, "answers": answers}
    atomic_write(folder / FILE, json.dumps(content, indent=1) + "\n")


def read(folder: Path) -> Golden:
    """Reads what the model said.

    Raises:
        TlkerasError: There is no such file, or it is damaged.
    """
    try:
        content = json.loads((folder / FILE).read_bytes())
        golden = _parsed(content)
    except OSError as error:
        raise TlkerasError(f"{FILE} cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise TlkerasError(f"{FILE} is damaged: {what_is_wrong(error)}") from error
    return golden


def _numbers(row: np.ndarray) -> list[float]:
    return [float(f"{value:.9g}") for value in row]


def _parsed(content: dict) -> Golden:
    requests, answers, tolerance = content["requests"], content["answers"], content["tolerance"]
    if not requests or len(requests) != len(answers):
        raise ValueError(f"{len(requests)} requests and {len(answers)} answers")
    # What is to be proven does not say how strictly.
    if isinstance(tolerance, bool) or not 0 < tolerance <= TOLERANCE:
        raise ValueError(f"a tolerance of {tolerance}, above {TOLERANCE:g} or none")
    is_text = "text" in requests[0]
    is_unknown = [answer["is_unknown"] for answer in answers] if "is_unknown" in answers[0] else None
    golden = Golden(
        requests=[_request(request, is_text) for request in requests],
        logits=_matrix([answer["logits"] for answer in answers]),
        probabilities=_matrix([answer["probabilities"] for answer in answers]),
        features=_matrix([answer["features"] for answer in answers]),
        classes=[[_string(name) for name in answer["classes"]] for answer in answers],
        scores=_matrix([answer["scores"] for answer in answers]),
        errors=[_string(answer["error"]) for answer in answers],
        is_unknown=None if is_unknown is None else np.array(is_unknown, bool),
        is_text=is_text,
        tolerance=tolerance,
    )
    if all(golden.errors):
        raise ValueError("no request that the model answered, so that nothing would be compared")
    if {len(row) for row in golden.classes} != {golden.scores.shape[1]}:
        raise ValueError("the answers have not as many classes as scores")
    return golden


def _request(request: dict, is_text: bool) -> bytes:
    if is_text:
        return _string(request["text"]).encode("utf-8", "surrogateescape")
    try:
        return base64.b64decode(request["image_bytes"], validate=True)
    except binascii.Error as error:
        raise ValueError(f"an image is not base64 ({error})") from error


def _matrix(rows: list[list[float]]) -> np.ndarray:
    matrix = np.array(rows, np.float32)
    if matrix.ndim != 2 or not matrix.shape[1] or not np.isfinite(matrix).all():
        raise ValueError("the logits, probabilities, features or scores are not numbers, as many for each request")
    return matrix


def _string(value: str) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is no text")
    return value
