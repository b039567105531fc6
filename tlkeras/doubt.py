"""How sure an export may be: its temperature, and from where on an input is none of the classes.

Both are chosen on the validation part and judged on the test part.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence

import numpy as np

from tlkeras import calibration, unknown
from tlkeras.data.dataset import Data, Example
from tlkeras.errors import TlkerasError, TlkerasWarning, unknown_name
from tlkeras.evaluate import labels_of
from tlkeras.metrics import softmax

# What the figures stand under in the metrics of a run.
FIGURES = ("calibration", "unknown")
# Fewer examples than these say little of a temperature.
_FEW = 30


@dataclasses.dataclass(frozen=True)
class Wanted:
    """What is to be found out before an export.

    Args:
        calibrate: A temperature.
        unknown: The threshold of one of `tlkeras.unknown.SCORES`, or None.
        false_alarm_rate: Share of the validation part that is then taken for unknown.
        outliers: Examples of none of the classes, to judge that by, or None.

    Raises:
        TlkerasError: There is no such score, or the share is none, or there are outliers and no score.
    """

    calibrate: bool = False
    unknown: str | None = None
    false_alarm_rate: float = 0.05
    outliers: Sequence[Example] | None = None

    def __post_init__(self):
        if self.unknown is not None and self.unknown not in unknown.SCORES:
            raise unknown_name("score of unknown inputs", self.unknown, unknown.SCORES)
        if self.outliers is not None and self.unknown is None:
            raise TlkerasError("outliers are what `unknown` is judged by: give a score, energy or max-softmax")
        if not 0 < self.false_alarm_rate < 1:
            raise TlkerasError(
                f"the false-alarm rate is a share, above 0 and below 1. Received: {self.false_alarm_rate}"
            )


@dataclasses.dataclass(frozen=True)
class _Judged:
    """What a model says of a part: logits `(count, classes)`, and the index of the true class of each example."""

    logits: np.ndarray
    labels: np.ndarray


def find(
    wanted: Wanted, data: Data, logits_of: Callable[[Sequence[Example]], np.ndarray]
) -> tuple[float, unknown.Threshold | None, dict]:
    """Finds the temperature and the threshold on the validation part, and judges them on the test part.

    Args:
        wanted: What is to be found.
        data: The data, of which both parts are there.
        logits_of: Gives the logits of the model on examples, `(count, classes)`.

    Returns:
        The temperature, 1 where none is wanted; the threshold, if one is; and the figures of each, by the names in
        `FIGURES`.
    """
    val, test = (
        _Judged(logits_of(data.parts[part]), labels_of(data.parts[part], data.classes)) for part in ("val", "test")
    )
    _warn_of_few(wanted, len(val.labels))
    temperature, threshold, figures = 1.0, None, {}
    if wanted.calibrate:
        temperature, figures["calibration"] = _calibrate(val, test)
    if wanted.unknown:
        outliers = None if wanted.outliers is None else logits_of(wanted.outliers)
        _warn_of_known(wanted.outliers or (), data)
        threshold, figures["unknown"] = _tell_unknown(val, test, wanted, temperature, outliers)
    return temperature, threshold, figures


def _warn_of_few(wanted: Wanted, count: int) -> None:
    """Warns where the validation part is too small to choose by."""
    if wanted.calibrate and count < _FEW:
        _warn(f"the temperature is fitted on {count} examples, those of the validation part: too few to go by")
    if wanted.unknown and wanted.false_alarm_rate * count < 1:
        share = f"{wanted.false_alarm_rate:.2g} of {count} validation examples"
        _warn(f"{share} is less than one: the threshold of what is unknown is a guess")


def _warn_of_known(outliers: Sequence[Example], data: Data) -> None:
    """Warns of outliers that are among the examples: they are not what they are taken for."""
    known = {example.sha256 for part in data.parts.values() for example in part} - {""}
    if count := sum(example.sha256 in known for example in outliers):
        _warn(f"{count} of {len(outliers)} outliers are among the data, so that their figures mean nothing")


def _warn(message: str) -> None:
    warnings.warn(message, TlkerasWarning, stacklevel=3)


def _calibrate(val: _Judged, test: _Judged) -> tuple[float, dict]:
    """Finds the temperature, and figures: it, and the expected calibration error before and after."""
    temperature = calibration.fit_temperature(val.logits, val.labels)

    def error(divisor: float) -> float:
        return calibration.expected_calibration_error(softmax(test.logits / np.float32(divisor)), test.labels)

    return temperature, {
        "temperature": temperature,
        "fitted_on": len(val.labels),
        "expected_calibration_error": {"before": error(1.0), "after": error(temperature)},
    }


def _tell_unknown(
    val: _Judged, test: _Judged, wanted: Wanted, temperature: float, outliers: np.ndarray | None
) -> tuple[unknown.Threshold, dict]:
    """Finds the threshold, and figures: it, the share of the test part below it, and what it makes of outliers."""

    def score(logits: np.ndarray) -> np.ndarray:
        return unknown.scores(logits, wanted.unknown, temperature)

    chosen = unknown.choose(score(val.logits), wanted.unknown, wanted.false_alarm_rate)
    figures = dataclasses.asdict(chosen) | {
        "chosen_on": len(val.labels),
        "false_alarms_on_test": float(chosen.tell(test.logits, temperature).mean()),
    }
    if outliers is not None:
        found = float(chosen.tell(outliers, temperature).mean())
        auroc = unknown.auroc(score(test.logits), score(outliers))
        figures |= {"outliers": len(outliers), "found": found, "auroc": auroc}
    return chosen, figures
