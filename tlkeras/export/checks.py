"""What a check comes to: ok, failed, or skipped."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from typing import TypeVar

import tensorflow as tf

from tlkeras.errors import TlkerasError

T = TypeVar("T")
OK, FAILED, SKIPPED = "ok", "FAILED", "skipped"


class ServeCheckError(TlkerasError):
    """An export that failed a check. Nothing is wrong with what the user gave."""

    exit_code = 1


class Skip(Exception):
    """Why a check cannot be made: another one failed, or there is no compiler."""


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of a proof: what was checked, `ok`, `FAILED` or `skipped`, and figures or the reason."""

    name: str
    status: str
    detail: str


def made(name: str, check: Callable[[], str]) -> Check:
    """Makes a check: the function gives the figures, or raises what is wrong."""
    try:
        return Check(name, OK, check())
    except Skip as error:
        return Check(name, SKIPPED, str(error))
    except (TlkerasError, OSError, tf.errors.OpError) as error:
        return Check(name, FAILED, " ".join(str(error).split()))


def needed(value: T | None, what: str) -> T:
    """Gives what another check found out.

    Raises:
        Skip: It did not.
    """
    if value is None:
        raise Skip(f"needs {what}, see above")
    return value


def require(checks: Iterable[Check]) -> list[Check]:
    """Takes all checks.

    Raises:
        ServeCheckError: One or more failed.
    """
    checks = list(checks)
    failed = [check for check in checks if check.status == FAILED]
    if failed:
        first = f"{failed[0].name}: {failed[0].detail}"
        raise ServeCheckError(f"{len(failed)} of {len(checks)} checks failed, the export is not fit to serve; {first}")
    return checks
