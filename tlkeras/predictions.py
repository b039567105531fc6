"""Predictions as they come: batches are read, answered by a model that is here or on a server, and told one by one."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from tlkeras.ahead import in_order, read_ahead
from tlkeras.asked import Read, batches
from tlkeras.errors import TlkerasError


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What a model says of one file or text: class names, best first, and their scores 0..1; or why it says nothing.

    Of `file` and `text` one is given: where it was read from, or the text itself. `is_unknown` says whether it is none
    of the classes, and is None for a model that does not tell; what has no answer is unknown.
    """

    file: Path | None
    classes: list[str] = dataclasses.field(default_factory=list)
    scores: list[float] = dataclasses.field(default_factory=list)
    error: str | None = None
    text: str | None = None
    is_unknown: bool | None = None

    def to_dict(self) -> dict:
        """The prediction in plain types that go into JSON as they are; `is_unknown` only for a model that tells."""
        asked = {"file": str(self.file)} if self.file else {"text": self.text}
        told = {} if self.is_unknown is None else {"is_unknown": self.is_unknown}
        return {**asked, "classes": self.classes, "scores": self.scores, **told, "error": self.error}


class Answer(NamedTuple):
    """What a model answers to one string of bytes; `error` is empty where it could read it."""

    classes: list[str]
    scores: list[float]
    error: str = ""
    is_unknown: bool | None = None


class Refused(Exception):
    """A request was refused as a whole, so that nothing in it has an answer; the text says why."""


class Answerer(Protocol):
    """What answers to strings of bytes, from several threads at once.

    Attributes:
        is_text: It takes texts, not image files.
        has_unknown: It says of each whether it is unknown.
        top_k: How many classes it names for each.
        most_bytes: How many bytes it takes at a time, but for one string that has more.
        may_be_left: A request that was begun can be left alone when nobody wants the answer any more.
    """

    is_text: bool
    has_unknown: bool
    top_k: int
    most_bytes: int
    may_be_left: bool

    def answer(self, strings: Sequence[bytes]) -> list[Answer]:
        """Answers to each string, one or more.

        Raises:
            Refused: Nothing of it can be answered together.
        """

    def reason(self, content: bytes, told: str) -> str:
        """Words why one string has no answer, given what was told of it."""


class Predictions(Iterator[Prediction]):
    """One prediction for each file or text, in order; two batches are answered at once, and a third is read meanwhile.

    Args:
        answerer: What predicts.
        asked: Files, or texts.
        batch_size: Strings in a request.

    Attributes:
        top_k: How many classes are named for each, at most.
        has_unknown: Whether each has `is_unknown`.
    """

    def __init__(self, answerer: Answerer, asked: Iterator[Path | str], batch_size: int):
        self.top_k, self.has_unknown = answerer.top_k, answerer.has_unknown
        self._answerer = answerer
        self._made = self._make(asked, batch_size)

    def __next__(self) -> Prediction:
        return next(self._made)

    def _make(self, asked: Iterator[Path | str], batch_size: int) -> Iterator[Prediction]:
        read = batches(asked, self._answerer.is_text, batch_size, self._answerer.most_bytes)
        is_empty = True
        for some in in_order(self._answered, read_ahead(read), wait=not self._answerer.may_be_left):
            is_empty = False
            yield from some
        if is_empty:
            raise TlkerasError("no files to predict: the list on standard input is empty")

    def _answered(self, batch: Sequence[Read]) -> list[Prediction]:
        contents = [found.content for found in batch if found.content is not None]
        answers = iter(_by_halves(self._answerer, contents) if contents else [])
        return [self._told(found, next(answers) if found.reason is None else None) for found in batch]

    def _told(self, found: Read, answer: Answer | None) -> Prediction:
        named = {"file": found.one} if isinstance(found.one, Path) else {"file": None, "text": found.one}
        if answer is None or answer.error:
            reason = found.reason or self._answerer.reason(found.content, answer.error)
            return Prediction(**named, error=reason, is_unknown=True if self.has_unknown else None)
        return Prediction(**named, classes=answer.classes, scores=answer.scores, is_unknown=answer.is_unknown)


def _by_halves(answerer: Answerer, contents: Sequence[bytes]) -> list[Answer]:
    try:
        return answerer.answer(contents)
    except Refused as error:
        # One that is bad may fail all: find it by halving, so that the good ones are still answered together.
        if len(contents) == 1:
            return [Answer([], [], str(error))]
        middle = len(contents) // 2
        return _by_halves(answerer, contents[:middle]) + _by_halves(answerer, contents[middle:])
