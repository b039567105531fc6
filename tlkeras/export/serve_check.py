"""The proof that an export serves: its contract, and its answers in Python and in TensorFlow's C library."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tlkeras.backbones.text import needs
from tlkeras.errors import TlkerasError
from tlkeras.export import asked_files, contract, golden, replay, warmup
from tlkeras.export.checks import Check, ServeCheckError, made, needed, require
from tlkeras.export.contract import About
from tlkeras.export.messages import predict_log, signature_of
from tlkeras.export.native_proof import NativeProof
from tlkeras.export.python_runtime import PythonRuntime
from tlkeras.files import check_name
from tlkeras.versions import versions

__all__ = ["BATCH_SIZES", "Check", "ServeCheckError", "find_version", "require", "serve_check"]
BATCH_SIZES = (1, 7, 32)


def serve_check(
    export: str | Path, files: Sequence[str | Path] = (), *, latency: bool = True, python: PythonRuntime | None = None
) -> Iterator[Check]:
    """Checks an export in all that TensorFlow Serving and its clients rely on, and gives the outcomes as they come.

    The golden requests are replayed in batches of 1, 7 and 32 through `tf.saved_model.load` and through the C program,
    and compared with what the Keras model said at export.

    Args:
        export: A version, the folder of the versions (the newest), or a run folder (its newest export).
        files: Image files or folders of them, or .txt files for a model of texts; Python and C must agree on them.
        latency: Also start a second process, to see what a first call costs without the warm-up file.
        python: The export, where it is loaded already.

    Raises:
        TlkerasError: There is no export, or a file does not exist. A failed check raises nothing.
    """
    return _Proof(find_version(export), asked_files.expand(files), latency, python).checks()


def find_version(export: str | Path) -> Path:
    """Returns the version that is meant: a folder of one, or the newest in a folder of versions or of a run.

    Raises:
        TlkerasError: There is none, or its name is not in UTF-8.
    """
    check_name(export)
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

    def __init__(self, export: Path, files: list[Path], latency: bool, python: PythonRuntime | None):
        self._export, self._files, self._latency = export, files, latency
        self._about: About | None = None
        self._graph: MetaGraphDef | None = None
        self._golden: golden.Golden | None = None
        self._records: list[PredictionLog] | None = None
        self._python = python

    def checks(self) -> Iterator[Check]:
        yield made("layout", self._check_layout)
        yield made("signatures", self._check_signatures)
        yield made("settings", self._check_settings)
        yield made("ops", self._check_ops)
        yield made("golden requests", self._read_golden)
        yield made("warm-up file", self._read_warmup)
        needs = self._about.needs if self._about else ()
        with contextlib.ExitStack() as stack:
            # While Python answers: what takes long, the first call of each signature, has one core.
            native = stack.enter_context(NativeProof(self._export, needs, self._records or ()))
            yield made("python, load", self._load_python)
            yield made("python, warm-up file", self._replay_warmup)
            yield from self._replayed("python", lambda log: needed(self._python, "the export in Python").ask(log))
            yield made("C runtime, load", native.load)
            yield made("C runtime, warm-up file", native.warm_up)
            yield from self._replayed("C runtime", native.ask)
            if self._latency:
                yield made("latency", lambda: native.latency(self._request()))
            if self._files:
                yield made("files", lambda: self._check_files(native))

    def _check_layout(self) -> str:
        self._about = contract.read_about(self._export)
        return contract.check_layout(self._export, self._about)

    def _check_signatures(self) -> str:
        self._graph = contract.read_graph(self._export)
        return contract.check_signatures(self._graph, needed(self._about, "model.json"))

    def _check_settings(self) -> str:
        return contract.check_settings(needed(self._graph, "saved_model.pb"), needed(self._about, "model.json"))

    def _check_ops(self) -> str:
        about = needed(self._about, "model.json")
        _import(about.needs)
        return contract.check_ops(needed(self._graph, "saved_model.pb"), about)

    def _read_golden(self) -> str:
        about, found = needed(self._about, "model.json"), golden.read(self._export)
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
        asked = {signature_of(record) for record in records}
        if self._about and (missing := contract.signatures(self._about).keys() - asked):
            raise TlkerasError(f"no record warms up {', '.join(sorted(missing))}")
        self._records = records
        return f"{len(records)} records, all signatures"

    def _load_python(self) -> str:
        _import(needed(self._about, "model.json").needs)
        self._python = self._python or PythonRuntime(self._export)
        return "tf.saved_model.load"

    def _replay_warmup(self) -> str:
        python, records = needed(self._python, "the export in Python"), needed(self._records, "the warm-up file")
        for number, record in enumerate(records, start=1):
            try:
                python.ask(record)
            except TlkerasError as error:
                raise TlkerasError(f"record {number}: {error}") from error
        return f"{len(records)} records run"

    def _replayed(self, runtime: str, ask: replay.Ask) -> Iterator[Check]:
        def on(function: Callable[..., str], *arguments: int) -> Callable[[], str]:
            return lambda: function(ask, *self._wanted(), *arguments)

        for size in BATCH_SIZES:
            yield made(f"{runtime}, batch {size}", on(replay.replay, size))
        yield made(f"{runtime}, features", on(replay.replay_features))
        yield made(f"{runtime}, classify", on(replay.replay_classify))
        if self._about and not self._about.is_text:
            yield made(f"{runtime}, pixels", on(replay.replay_pixels))
            yield made(f"{runtime}, max_pixels", lambda: replay.ask_for_most(ask, self._wanted()[1]))

    def _check_files(self, native: NativeProof) -> str:
        python = needed(self._python, "the export in Python")
        return asked_files.check(self._files, self._wanted()[1], python.ask, native.ask if native.is_loaded else None)

    def _wanted(self) -> tuple[golden.Golden, About]:
        return needed(self._golden, "golden.json"), needed(self._about, "model.json")

    def _request(self) -> PredictionLog:
        wanted, about = self._wanted()
        return predict_log("serving_default", {about.takes: wanted.requests[:1]})


def _import(modules: Sequence[str]) -> None:
    for module in modules:
        needs(module)
