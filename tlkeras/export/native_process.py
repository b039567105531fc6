"""The C program as a running process that answers one request after the other."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import signal
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

from tensorflow_serving.apis.classification_pb2 import ClassificationResponse
from tensorflow_serving.apis.predict_pb2 import PredictResponse
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tlkeras.errors import TlkerasError
from tlkeras.export import native_runtime

# Status code, kind of the body, microseconds of the session, resident memory in kB: frames.h.
_HEAD = struct.Struct("<IIQQ")
_KINDS = {1: PredictResponse, 2: ClassificationResponse}


@dataclasses.dataclass(frozen=True)
class Reply:
    """What came back for a request.

    Attributes:
        code: 0, or the status code of gRPC.
        error: Why there is no response; empty where there is one.
        response: The message of TensorFlow Serving.
        seconds: How long the session ran.
        resident_kb: What of the process is in memory after it.
    """

    code: int
    error: str
    response: PredictResponse | ClassificationResponse | None
    seconds: float
    resident_kb: int


class NativeProcess:
    """An export in the C program; a context manager, which starts and ends the process.

    `load_seconds` says how long the load took, `resident_kb` what is in memory after it.

    Args:
        export: The version, `EXPORT/N`.
        needs: Packages whose operations it needs, as `model.json` names them.
        timeout: Seconds in which the load, and then each request, is answered; the process is killed otherwise.
        options: Threads: `intra` and `inter`.

    Raises:
        NoRuntime: On entering: there is no C compiler, or it failed.
        TlkerasError: On entering: the export cannot be loaded.
    """

    def __init__(self, export: Path, needs: Iterable[str] = (), *, timeout: float = 120, **options: int):
        self._make_command = lambda: native_runtime.command(export, needs, **options)
        self._timeout = timeout

    def __enter__(self) -> NativeProcess:
        words = self._make_command()
        self._said = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                env=native_runtime.environment(),
                bufsize=0,
            )
        except OSError as error:
            self._said.close()
            raise native_runtime.NoRuntime(f"the C program does not start: {error.strerror}") from error
        for pipe in (self._process.stdin, self._process.stdout):
            os.set_blocking(pipe.fileno(), False)
        try:
            loaded = self._reply(time.monotonic() + self._timeout)
            if loaded.code:
                raise TlkerasError(f"the C runtime cannot load the export: {loaded.error}")
        except BaseException:
            self.__exit__()
            raise
        self.load_seconds, self.resident_kb = loaded.seconds, loaded.resident_kb
        return self

    def __exit__(self, *_) -> None:
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            # It ends by itself when its input does.
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._said.close()

    @property
    def peak_kb(self) -> int:
        """The most that was in memory until now, in kB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0])

    def ask(self, request: PredictionLog | bytes) -> Reply:
        """Has a request answered: a `PredictionLog`, or whatever bytes.

        Raises:
            TlkerasError: The process ended, or did not answer in time.
        """
        data = request if isinstance(request, bytes) else request.SerializeToString()
        until = time.monotonic() + self._timeout
        left = memoryview(len(data).to_bytes(4, "little") + data)
        while left:
            self._wait(self._process.stdin, until)
            try:
                left = left[os.write(self._process.stdin.fileno(), left[: 1 << 20]) :]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                self._fail()
        return self._reply(until)

    def _reply(self, until: float) -> Reply:
        (size,) = struct.unpack("<I", self._read(4, until))
        content = self._read(size, until)
        code, kind, micros, resident = _HEAD.unpack_from(content)
        body = content[_HEAD.size :]
        response = _KINDS[kind].FromString(body) if kind else None
        error = body.decode("utf-8", "replace") if code else ""
        return Reply(code, error, response, micros / 1e6, resident)

    def _read(self, size: int, until: float) -> bytes:
        content = bytearray()
        while len(content) < size:
            self._wait(self._process.stdout, until)
            try:
                part = os.read(self._process.stdout.fileno(), min(size - len(content), 1 << 20))
            except BlockingIOError:
                continue
            if not part:
                self._fail()
            content += part
        return bytes(content)

    def _wait(self, pipe, until: float) -> None:
        left = until - time.monotonic()
        ready = select.poll()
        ready.register(pipe, select.POLLOUT if pipe is self._process.stdin else select.POLLIN)
        if left <= 0 or not ready.poll(1000 * left):
            self._process.kill()
            raise TlkerasError(f"the C runtime did not answer within {self._timeout:g} s, and was stopped")

    def _fail(self) -> None:
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        self._said.seek(0)
        lines = self._said.read().decode(errors="replace").strip().splitlines()
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        raise TlkerasError(f"the C runtime {how}{f': {lines[-1][:300]}' if lines else ''}")
