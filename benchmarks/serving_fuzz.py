"""Fuzzed requests to an export in the C runtime: who crashed, who was answered, and whether neighbours were."""

from __future__ import annotations

import collections
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
import serving_inputs as inputs

from tlkeras import consoles
from tlkeras.errors import TlkerasError
from tlkeras.export import golden, replay
from tlkeras.export.contract import read_about
from tlkeras.export.messages import classify_log, example_of, outputs_of, predict_log
from tlkeras.export.native_process import NativeProcess

# How often: an input of its kind beside good ones; a request that is wrong as a whole; none, and a thousand.
_KINDS = {"input": 80, "wrong": 18, "none": 1.7, "thousand": 0.3}
_SIGNATURES = {"serving_default": 6, "probabilities": 1, "features": 1, "classify": 1}
_SHOWN = 20


class Fuzz:
    """An export that is asked again and again, started again where it crashed."""

    def __init__(self, version: Path, files: Sequence[Path], seed: int, keep: Path | None):
        self.about, self.random, self.keep = read_about(version), Random(seed), keep
        recorded = golden.read(version)
        good = [request for request, error in zip(recorded.requests, recorded.errors, strict=True) if not error]
        self.good = [file.read_bytes() for file in files] or good
        self.table = collections.defaultdict(collections.Counter)
        self.wrong: list[str] = []
        self.memory: list[tuple[int, int]] = []
        self._start = lambda: NativeProcess(version, self.about.needs)
        self._wrong_requests = inputs.wrong_requests(self.about.takes, min(self.good, key=len))
        self.peak_kb = 0

    def run(self, requests: int) -> None:
        with contextlib.ExitStack() as stack:
            self.process = stack.enter_context(self._start())
            self.alone = {name: [self._outputs(name, [content]) for content in self.good] for name in _SIGNATURES}
            self.memory.append((0, self.process.resident_kb))
            for number in range(1, requests + 1):
                kind, data, check = self._make()
                try:
                    self._ask(number, kind, data, check)
                except TlkerasError as error:
                    self._report(number, kind, data, "crashes", str(error))
                    self.process = stack.enter_context(self._start())
                if number % max(1, requests // 10) == 0:
                    self.memory.append((number, self._resident()))
                    print(f"{number:,} requests, {self.memory[-1][1] / 1024:.0f} MB", file=sys.stderr, flush=True)

    def _ask(self, number, kind, data, check) -> None:
        row = self.table[kind]
        row["requests"] += 1
        reply = self.process.ask(data)
        self.peak_kb = max(self.peak_kb, self.process.peak_kb)
        if reply.code:
            row["refused"] += 1
            if check:
                self._report(number, kind, data, "failed as a whole", reply.error)
            return
        row["answered"] += 1
        if check and (wrong := check(outputs_of(reply.response))):
            self._report(number, kind, data, *wrong)

    def _report(self, number, kind, data, what, why) -> None:
        self.table[kind][what] += 1
        self.wrong.append(f"request {number}, {kind}: {what}: {why[:300]}")
        if self.keep:
            self.keep.mkdir(parents=True, exist_ok=True)
            (self.keep / f"{number}.bin").write_bytes(data)

    def _make(self):
        """Gives the kind of a request, the request, and what must hold of the answer; None where it may be refused."""
        random, name = self.random, self.about.takes
        what = random.choices(list(_KINDS), list(_KINDS.values()))[0]
        if what == "wrong":
            kind = random.choice(list(self._wrong_requests))
            return kind, self._wrong_requests[kind](random), None
        signature = random.choices(list(_SIGNATURES), list(_SIGNATURES.values()))[0]
        if what == "none":
            # TensorFlow Serving itself refuses a Classify of nothing.
            signature = "serving_default" if signature == "classify" else signature
            return "no input", self._log(signature, []).SerializeToString(), self._check_none
        if what == "thousand":
            chosen = [min(range(len(self.good)), key=lambda i: len(self.good[i]))] * 1000
            contents, places, kind = [self.good[i] for i in chosen], range(1000), "1,000 inputs"
        else:
            makers = inputs.OF_TEXTS if name == "text" else inputs.OF_IMAGES
            maker = random.choices(list(makers), list(makers.values()))[0]
            chosen = [random.randrange(len(self.good)) for _ in range(random.choice((1, 1, 2)))]
            contents = [self.good[i] for i in chosen] + [maker(random, self.good) for _ in range(random.choice((1, 2)))]
            order = random.sample(range(len(contents)), len(contents))
            contents, places = [contents[i] for i in order], [order.index(i) for i in range(len(chosen))]
            kind = maker.__name__.replace("_", " ")

        def check(answer):
            return self._check(signature, answer, chosen, places, len(contents))

        return kind, self._log(signature, contents).SerializeToString(), check

    def _check_none(self, answer):
        if any(len(value) for value in answer.values()):
            return "answered wrongly", "answers to nothing"
        return None

    def _check(self, signature, answer, chosen, places, count):
        """Compares good inputs with their answers alone, and the others with what an answer may be."""
        for index, place in zip(chosen, places, strict=True):
            expected = self.alone[signature][index]
            row = {name: value[place : place + 1] for name, value in answer.items()}
            try:
                if "scores" in expected:
                    replay.agree(row, expected, golden.TOLERANCE)
                elif not all(
                    np.allclose(row[key], expected[key], golden.TOLERANCE, golden.TOLERANCE) for key in expected
                ):
                    raise TlkerasError("other numbers")
            except TlkerasError as error:
                return "neighbours answered wrongly", f"{signature}: {error}"
        numbers = next(value for name, value in answer.items() if name in ("scores", "probabilities", "features"))
        if len(numbers) != count or not np.isfinite(numbers).all():
            return "answered wrongly", f"{signature}: not {count} rows of numbers"
        if "error" in answer:
            failed = answer["error"] != b""
            zero = (answer["scores"] == 0).all(1) & (answer["classes"] == b"").all(1)
            if (failed != zero).any():
                return "answered wrongly", "an error with an answer, or neither"
        return None

    def _log(self, signature, contents):
        if signature == "classify":
            return classify_log("classify", [example_of(self.about.takes, content) for content in contents])
        return predict_log(signature, {self.about.takes: contents})

    def _outputs(self, signature, contents):
        reply = self.process.ask(self._log(signature, contents))
        if reply.code:
            raise TlkerasError(f"{signature} refuses a good input: {reply.error}")
        return outputs_of(reply.response)

    def _resident(self) -> int:
        return self.process.ask(self._log("serving_default", self.good[:1])).resident_kb


def run(version: Path, files: Sequence[Path], requests: int, seed: int, keep: Path | None) -> None:
    """Sends the requests and prints the tables."""
    fuzz = Fuzz(version, files, seed, keep)
    fuzz.run(requests)
    console = consoles.make()
    columns = (
        "requests",
        "answered",
        "refused",
        "failed as a whole",
        "neighbours answered wrongly",
        "answered wrongly",
    )
    columns = (*columns, "crashes")
    table = consoles.table("kind", *columns)
    total = collections.Counter()
    for kind, row in sorted(fuzz.table.items()):
        table.add_row(kind, *(f"{row[column]:,}" for column in columns))
        total.update(row)
    table.add_section()
    table.add_row("all", *(f"{total[column]:,}" for column in columns))
    console.print(table)
    memory = consoles.table("after requests", "MB resident")
    for number, kilobytes in fuzz.memory:
        memory.add_row(f"{number:,}", f"{kilobytes / 1024:,.0f}")
    memory.add_row("peak", f"{fuzz.peak_kb / 1024:,.0f}")
    console.print(memory)
    for line in fuzz.wrong[:_SHOWN]:
        console.print(line)
