"""The run folder: where each file of a run lies, and which run may use it."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import tempfile
import warnings
import zipfile
from collections.abc import Iterator
from pathlib import Path

import keras

from tlkeras import card_files, zoo
from tlkeras import spec as specs
from tlkeras.backbones import hub_places
from tlkeras.errors import TlkerasError, TlkerasWarning, mistake_in, os_reason
from tlkeras.files import UNFINISHED, atomic_write, check_name, is_leftover, locked, remove_leftovers
from tlkeras.versions import versions
from tlkeras.weights import cache_folder


class RunFolder:
    """A folder with everything that a run did, from which it can be repeated, continued, judged and exported.

    Raises:
        TlkerasError: Its name is not in UTF-8.
    """

    def __init__(self, path: str | os.PathLike):
        check_name(path)
        self.path = Path(path)
        self.spec_file = self.path / "spec.toml"
        self.card_file = self.path / "card.toml"
        self.model_file = self.path / "model.keras"
        self.history_file = self.path / "history.csv"
        self.report_file = self.path / "report.html"
        self.checkpoints = self.path / "checkpoints"
        self.tensorboard = self.path / "tensorboard"
        self.exports = self.path / "export"

    @property
    def is_run(self) -> bool:
        """Says whether the folder holds a run, finished or not."""
        return self.spec_file.is_file()

    @property
    def is_trained(self) -> bool:
        """Says whether training came to its end."""
        return self.model_file.is_file()

    @property
    def newest_export(self) -> Path | None:
        """The export with the highest number, or None."""
        return next(reversed(versions(self.exports)), None)

    def metrics_of(self, data: str | None) -> Path:
        """Names the file of metrics: of the run's own test part, or of other data."""
        if not data:
            return self.path / "metrics.json"
        name = re.sub(r"[^A-Za-z0-9]+", "-", Path(data).name).strip("-")[:40]
        mark = hashlib.sha256(data.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        return self.path / f"metrics-{f'{name}-' if name else ''}{mark}.json"

    def read_spec(self) -> specs.RunSpec:
        """Reads the spec of the run in the folder.

        Raises:
            TlkerasError: The folder holds no run.
        """
        if not self.is_run:
            raise TlkerasError(f"{self.path} is no run folder: it has no spec.toml. A run is made by `tlkeras train`")
        return specs.make(specs.read(self.spec_file))

    def check_usable(self, spec: specs.RunSpec, resume: bool) -> None:
        """Refuses a folder that cannot be written, or that holds something else than this run.

        Raises:
            TlkerasError: The folder is not writable, belongs to another spec or to no run, or its run is to be resumed.
        """
        existing = next(folder for folder in [self.path.absolute(), *self.path.absolute().parents] if folder.exists())
        try:
            with tempfile.TemporaryDirectory(dir=existing, prefix=UNFINISHED):
                pass
        except OSError as error:
            raise TlkerasError(
                f"the output {self.path} cannot be written: {existing} takes no new folder ({error.strerror})"
            ) from None
        if self.is_run:
            if different := self.read_spec().differences(spec):
                raise TlkerasError(
                    f"{self.path} holds a run of another spec; choose another output. There != here: "
                    f"{'; '.join(different)}"
                )
            if not resume:
                raise TlkerasError(
                    f"{self.path} holds this run already; --resume continues it, another output starts again"
                )
        elif existing == self.path.absolute() and any(not is_leftover(path) for path in self.path.iterdir()):
            raise TlkerasError(f"{self.path} is not empty and holds no run; choose another output")

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Holds the folder for this process, and clears away what a killed one left half-written.

        The lock lies in the cache, so that a folder that nothing was written to need not exist.

        Raises:
            TlkerasError: Another process of this machine holds it.
        """
        name = hashlib.sha256(os.fsencode(self.path.resolve())).hexdigest()[:16]
        lock = cache_folder() / "locks" / name
        try:
            lock.parent.mkdir(parents=True, exist_ok=True)
            lock.touch()
        except OSError as error:
            raise TlkerasError(
                f"the cache {cache_folder()} cannot be written ({error.strerror}): set TLKERAS_HOME to another folder"
            ) from None
        with locked(lock) as free:
            if free is False:
                raise TlkerasError(f"another process is training in {self.path}; choose another output")
            for folder in (self.path, self.checkpoints):
                remove_leftovers(folder)
            yield

    def write_spec(self, spec: specs.RunSpec) -> None:
        """Writes the spec, which makes the folder a run folder."""
        atomic_write(self.spec_file, spec.to_toml())

    def write_card(self, card: zoo.Card) -> None:
        """Keeps the card of the backbone: the run means the same when the zoo has changed."""
        atomic_write(self.card_file, card_files.to_toml(card.to_dict()))

    def read_card(self) -> zoo.Card | None:
        """Reads the card that the run kept, where there is one.

        Raises:
            TlkerasError: The file is damaged.
        """
        return zoo.read(self.card_file)[0] if self.card_file.is_file() else None

    @property
    def has_split(self) -> bool:
        """Says whether the split was made and written down."""
        return (self.path / "split.csv").is_file()

    def data_hash(self) -> str:
        """SHA-256 over the recorded split: what was in which part, under which label. In hexadecimal."""
        return hashlib.sha256((self.path / "split.csv").read_bytes()).hexdigest()

    def load_model(self) -> keras.Model:
        """Loads the trained model.

        Raises:
            TlkerasError: Training has not come to its end.
        """
        if not self.is_trained:
            raise TlkerasError(f"the run {self.path} is not trained to its end; continue it with --resume")
        try:
            with hub_places.modules_in(self.path):
                return keras.saving.load_model(self.model_file)
        except TypeError as error:
            # A layer that lacks a package, as a rule.
            raise (mistake_in(error) or error) from None
        except PermissionError as error:
            raise TlkerasError(f"{self.model_file} cannot be read: {error.strerror}") from error
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise TlkerasError(
                f"{self.model_file} is damaged; remove it, and `tlkeras train` with --resume makes it again"
            ) from error

    def write_metrics(self, metrics: dict, data: str | None = None) -> None:
        """Writes the metrics of the run's own test part, or of other data, as JSON."""
        atomic_write(self.metrics_of(data), json.dumps(metrics, indent=1, ensure_ascii=False) + "\n")

    def add_metrics(self, more: dict) -> None:
        """Adds to the metrics of the run's own test part what stands elsewhere too; warns where it cannot."""
        try:
            self.write_metrics(self.read_metrics() | more)
        except OSError as error:
            what = f"{', '.join(more)} could not be added to {self.metrics_of(None)}: {os_reason(error)}"
            warnings.warn(what, TlkerasWarning, stacklevel=3)

    def read_metrics(self) -> dict:
        """Reads the metrics of the run's own test part; empty where it was not evaluated yet."""
        file = self.metrics_of(None)
        if not file.is_file():
            return {}
        with contextlib.suppress(ValueError):
            if isinstance(metrics := json.loads(file.read_text("utf-8")), dict):
                return metrics
        raise TlkerasError(f"{file} is damaged; `tlkeras evaluate {self.path}` writes it again")

    def write_history(self, epochs: list[dict]) -> None:
        """Writes one line an epoch, over all phases."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(epochs[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(epochs)
        atomic_write(self.history_file, text.getvalue())

    def read_history(self) -> list[dict]:
        """Reads the lines of the history, numbers as numbers."""
        with self.history_file.open(newline="", encoding="utf-8") as file:
            return [
                {key: int(value) if key in ("epoch", "phase") else float(value) for key, value in row.items()}
                for row in csv.DictReader(file)
            ]
