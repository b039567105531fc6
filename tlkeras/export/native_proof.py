"""The C program during a proof: started and warmed up in the background, while Python answers as well."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tlkeras.errors import TlkerasError
from tlkeras.export.checks import Skip
from tlkeras.export.messages import outputs_of, signature_of
from tlkeras.export.native_process import NativeProcess, Reply
from tlkeras.export.native_runtime import NoRuntime


class NativeProof:
    """One process for all checks; a context manager, which starts it and does not wait for it.

    Args:
        export: The version, `EXPORT/N`.
        needs: Packages whose operations it needs.
        records: The warm-up file, which is replayed first.
    """

    def __init__(self, export: Path, needs: Sequence[str], records: Sequence[PredictionLog]):
        self._export, self._needs, self._records = export, needs, records
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> NativeProof:
        pool = self._stack.enter_context(ThreadPoolExecutor(1))
        self._started: Future[NativeProcess] = pool.submit(self._start)
        self._warmed: Future[float] = pool.submit(self._warm_up)
        return self

    def __exit__(self, *_) -> None:
        self._warmed.cancel()
        self._stack.close()

    def load(self) -> str:
        """Waits for the load, and says how long it took.

        Raises:
            Skip: There is no C compiler, or it failed.
            TlkerasError: The export cannot be loaded.
        """
        process = self._process()
        return f"in {process.load_seconds:.1f} s, {process.resident_kb / 1024:.0f} MB resident"

    def warm_up(self) -> str:
        """Waits until the warm-up file is replayed, and says how long that took.

        Raises:
            TlkerasError: A record is refused.
        """
        self._loaded()
        if not self._records:
            raise Skip("needs the warm-up file, see above")
        return f"{len(self._records)} records run in {self._warmed.result():.1f} s"

    def ask(self, log: PredictionLog) -> dict[str, np.ndarray]:
        """Answers a request.

        Raises:
            TlkerasError: It is refused.
        """
        return outputs_of(_asked(self._loaded(), log).response)

    @property
    def is_loaded(self) -> bool:
        """Whether it answers."""
        return self._started.exception() is None

    def latency(self, log: PredictionLog) -> str:
        """Compares a process that answers at once with the one that has replayed the warm-up file.

        Raises:
            TlkerasError: The request is refused.
        """
        warm = self._loaded()
        with NativeProcess(self._export, self._needs) as fresh:
            cold_seconds = [_asked(fresh, log).seconds for _ in range(2)]
        warm_seconds = [_asked(warm, log).seconds for _ in range(2)]
        words = [
            f"first call {1000 * one:.0f} ms, second {1000 * two:.0f} ms" for one, two in (cold_seconds, warm_seconds)
        ]
        return f"{words[0]}; after the warm-up file: {words[1]}"

    def _process(self) -> NativeProcess:
        try:
            return self._started.result()
        except NoRuntime as error:
            raise Skip(str(error)) from error

    def _loaded(self) -> NativeProcess:
        try:
            return self._process()
        except (Skip, TlkerasError) as error:
            raise Skip("needs the export in the C runtime, see above") from error

    def _start(self) -> NativeProcess:
        return self._stack.enter_context(NativeProcess(self._export, self._needs))

    def _warm_up(self) -> float:
        seconds = 0.0
        for number, record in enumerate(self._records, start=1):
            try:
                seconds += _asked(self._started.result(), record).seconds
            except TlkerasError as error:
                raise TlkerasError(f"record {number}: {error}") from error
        return seconds


def _asked(process: NativeProcess, log: PredictionLog) -> Reply:
    reply = process.ask(log)
    if reply.code:
        raise TlkerasError(f"{signature_of(log)} refuses the request: {reply.error}")
    return reply
