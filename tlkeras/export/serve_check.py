"""The proof that an export serves: its contract, and its answers in Python and in TensorFlow's C library."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tlkeras.errors import TlkerasError
from tlkeras.export import asked_files, contract, golden, replay, warmup
from tlkeras.export.contract import About
from tlkeras.export.messages import outputs_of, predict_log
from tlkeras.export.native_process import NativeProcess
from tlkeras.export.native_runtime import NoRuntime
from tlkeras.export.python_runtime import PythonRuntime
from tlkeras.versions import versions

OK, FAILED, SKIPPED = "ok", "FAILED", "skipped"
BATCH_SIZES = (1, 7, 32)
# What a file asks for is not imported but where it is known.
_KNOWN_NEEDS = {"tensorflow_text"}


class ServeCheckError(TlkerasError):
    """An export that failed a check. Nothing is wrong with what the user gave."""

    exit_code = 1


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the proof: what was checked, `ok`, `FAILED` or `skipped`, and figures or the reason."""

    name: str
    status: str
    detail: str


class _Skip(Exception):
    """Why a check cannot be made: another one failed, or there is no compiler."""


def serve_check(export: str | Path, files: Sequence[str | Path] = ()) -> Iterator[Check]:
    """Checks an export in all that TensorFlow Serving and its clients rely on, and gives the outcomes as they come.

    The golden requests are replayed in batches of 1, 7 and 32 through `tf.saved_model.load` and through the C program,
    and compared with what the Keras model said at export.

    Args:
        export: A version, the folder of the versions (the newest), or a run folder (its newest export).
        files: Image files or folders of them, or .txt files for a model of texts; Python and C must agree on them.

    Raises:
        TlkerasError: There is no export, or a file does not exist. A failed check raises nothing.
    """
    return _Proof(find_version(export), asked_files.expand(files)).checks()


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


def find_version(export: str | Path) -> Path:
    """Returns the version that is meant: a folder of one, or the newest in a folder of versions or of a run.

    Raises:
        TlkerasError: There is none.
    """
    folder = Path(export)
    if (folder / "saved_model.pb").is_file() or (folder / contract.MODEL_JSON).is_file():
        return folder
    for place in (folder, folder / "export"):
        if found := versions(place):
            return found[-1]
    state = "holds no export" if folder.is_dir() else "is no folder"
    raise TlkerasError(f"nothing to check: give an export (EXPORT/N), the folder of exports or a run. {folder} {state}")


class _Proof:
    """The checks of one export in their order; what one finds out, the later ones use."""

    def __init__(self, export: Path, files: list[Path]):
        self._export, self._files = export, files
        self._about: About | None = None
        self._golden: golden.Golden | None = None
        self._records: list[PredictionLog] | None = None
        self._python: PythonRuntime | None = None
        self._native: NativeProcess | None = None
        self._no_native = "the C runtime has not loaded the export"
        self._features: dict[str, np.ndarray] = {}

    def checks(self) -> Iterator[Check]:
        graph = None

        def layout() -> str:
            self._about = contract.read_about(self._export)
            return contract.check_layout(self._export, self._about)

        def signatures() -> str:
            nonlocal graph
            graph = contract.read_graph(self._export)
            return contract.check_signatures(graph, self._need(self._about, "model.json"))

        def ops() -> str:
            about = self._need(self._about, "model.json")
            _import(about.needs)
            return contract.check_ops(self._need(graph, "saved_model.pb"), about)

        yield _made("layout", layout)
        yield _made("signatures", signatures)
        yield _made("ops", ops)
        yield _made("golden requests", self._read_golden)
        yield _made("warm-up file", self._read_warmup)
        yield _made("python, load", self._load_python)
        yield from self._replayed("python", lambda: self._need(self._python, "the export in Python").ask)
        with contextlib.ExitStack() as stack:
            yield _made("C runtime, load", lambda: self._load_native(stack))
            yield _made("C runtime, warm-up file", self._replay_warmup)
            yield _made("latency", self._measure)
            yield from self._replayed("C runtime", lambda: self._ask_native)
            if self._files:
                yield _made("files", self._check_files)

    def _replayed(self, runtime: str, asking: Callable[[], replay.Ask]) -> Iterator[Check]:
        def on(function, *arguments) -> Callable[[], str]:
            def check() -> str:
                about, wanted = self._need(self._about, "model.json"), self._need(self._golden, "golden.json")
                return function(asking(), wanted, about, *arguments)

            return check

        def features(ask, wanted, about) -> str:
            found = self._features[runtime] = replay.features(ask, wanted, about)
            other = next((value for name, value in self._features.items() if name != runtime), found)
            difference = np.abs(found - other).max() if found.shape == other.shape else np.inf
            if not difference <= wanted.tolerance * max(1, np.abs(found).max()):
                raise TlkerasError(f"Python and C differ by {difference:.2g}")
            return f"{found.shape[1]} channels"

        for size in BATCH_SIZES:
            yield _made(f"{runtime}, batch {size}", on(replay.replay, size))
        yield _made(f"{runtime}, features", on(features))
        yield _made(f"{runtime}, classify", on(replay.replay_classify))
        if self._about and not self._about.is_text:
            yield _made(f"{runtime}, pixels", on(replay.replay_pixels))

    def _read_golden(self) -> str:
        about, found = self._need(self._about, "model.json"), golden.read(self._export)
        detail = replay.check_golden(found, about)
        self._golden = found
        return detail

    def _read_warmup(self) -> str:
        records = []
        for number, record in enumerate(warmup.read(self._export), start=1):
            try:
                records.append(PredictionLog.FromString(record))
            except DecodeError as error:
                raise TlkerasError(f"record {number} of {warmup.FILE} is no PredictionLog") from error
        asked = {_signature_of(record) for record in records}
        if self._about and (missing := contract.signatures(self._about).keys() - asked):
            raise TlkerasError(f"no record warms up {', '.join(sorted(missing))}")
        self._records = records
        return f"{len(records)} records, all signatures"

    def _load_python(self) -> str:
        about = self._need(self._about, "model.json")
        _import(about.needs)
        self._python = PythonRuntime(self._export)
        for number, record in enumerate(self._records or (), start=1):
            try:
                self._python.ask(record)
            except TlkerasError as error:
                raise TlkerasError(f"record {number} of the warm-up file: {error}") from error
        return "loaded; the warm-up file is answered" if self._records else "loaded"

    def _load_native(self, stack: contextlib.ExitStack) -> str:
        about = self._need(self._about, "model.json")
        try:
            self._native = stack.enter_context(NativeProcess(self._export, about.needs))
        except NoRuntime as error:
            self._no_native = str(error)
            raise _Skip(self._no_native) from error
        return f"in {self._native.load_seconds:.1f} s, {self._native.resident_kb / 1024:.0f} MB resident"

    def _ask_native(self, log: PredictionLog) -> dict[str, np.ndarray]:
        if self._native is None:
            raise _Skip(self._no_native)
        return outputs_of(_asked(self._native, log).response)

    def _replay_warmup(self) -> str:
        if self._native is None:
            raise _Skip(self._no_native)
        seconds = 0.0
        for number, record in enumerate(self._need(self._records, "the warm-up file"), start=1):
            try:
                seconds += _asked(self._native, record).seconds
            except TlkerasError as error:
                raise TlkerasError(f"record {number}: {error}") from error
        return f"{len(self._records)} records run, {seconds:.1f} s"

    def _measure(self) -> str:
        """Compares a process that answers at once with the one that has just replayed the warm-up file."""
        if self._native is None:
            raise _Skip(self._no_native)
        about, wanted = self._need(self._about, "model.json"), self._need(self._golden, "golden.json")
        log = predict_log("serving_default", {about.takes: wanted.requests[:1]})
        with NativeProcess(self._export, about.needs) as fresh:
            cold = [1000 * _asked(fresh, log).seconds for _ in range(2)]
        warm = [1000 * _asked(self._native, log).seconds for _ in range(2)]
        return (
            f"first call {cold[0]:.0f} ms, second {cold[1]:.0f} ms; after the warm-up file {warm[0]:.0f} ms and "
            f"{warm[1]:.0f} ms"
        )

    def _check_files(self) -> str:
        about = self._need(self._about, "model.json")
        python = self._need(self._python, "the export in Python")
        native = self._ask_native if self._native else None
        return asked_files.check(self._files, about, python.ask, native)

    def _need(self, value, what: str):
        if value is None:
            raise _Skip(f"needs {what}, see above")
        return value


def _made(name: str, check: Callable[[], str]) -> Check:
    try:
        return Check(name, OK, check())
    except _Skip as error:
        return Check(name, SKIPPED, str(error))
    except (TlkerasError, OSError, tf.errors.OpError) as error:
        return Check(name, FAILED, " ".join(str(error).split()))


def _asked(process: NativeProcess, log: PredictionLog):
    reply = process.ask(log)
    if reply.code:
        raise TlkerasError(f"{_signature_of(log)} refuses the request: {reply.error}")
    return reply


def _signature_of(log: PredictionLog) -> str:
    kind = log.WhichOneof("log_type")
    request = getattr(log, kind).request if kind in ("predict_log", "classify_log") else None
    return request.model_spec.signature_name or "serving_default" if request is not None else str(kind)


def _import(needs: Sequence[str]) -> None:
    for name in needs:
        if name not in _KNOWN_NEEDS:
            raise TlkerasError(f"model.json needs {name!r}, which is unknown; legal: {', '.join(_KNOWN_NEEDS)}")
        try:
            importlib.import_module(name)
        except (ImportError, tf.errors.NotFoundError) as error:
            raise TlkerasError(f"the export needs {name}: pip install 'tlkeras[text]' ({error})") from error
