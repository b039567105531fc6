"""Where modules of TF-Hub lie: from a handle to the folder of a SavedModel. Downloads are TensorFlow Hub's."""

from __future__ import annotations

import contextlib
import contextvars
import re
import shutil
import tarfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

from tlkeras import checksums, modules, weights, zoo
from tlkeras.archives import extract
from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.files import folder_aside

GRAPH = "saved_model.pb"
# What belongs to a module; whatever else lies in its folder does not travel with it.
_PARTS = (GRAPH, "variables", "assets", "assets.extra", "tfhub_module.pb", "fingerprint.pb", "keras_metadata.pb")

_LEGAL = "folder of a SavedModel, a .tar.gz of it, or an https address"

_beside: contextvars.ContextVar[Path | None] = contextvars.ContextVar("beside", default=None)
_downloads: contextvars.ContextVar[bool] = contextvars.ContextVar("downloads", default=True)
# Where modules were found in this process, by the SHA-256 of their graphs: copies of a model find theirs again.
_seen: dict[str, Path] = {}


@contextlib.contextmanager
def modules_in(folder: Path) -> Iterator[None]:
    """Looks for modules in a run folder first, where training left a copy of them, within the block."""
    token = _beside.set(Path(folder).absolute())
    try:
        yield
    finally:
        _beside.reset(token)


@contextlib.contextmanager
def without_downloads() -> Iterator[None]:
    """Takes only modules that are on this machine within the block."""
    token = _downloads.set(False)
    try:
        yield
    finally:
        _downloads.reset(token)


def absolute(handle: str) -> str:
    """Makes the handle of a local folder or archive mean the same from anywhere; leaves an address as it is.

    Raises:
        TlkerasError: It is an address of another kind than can be fetched.
    """
    if is_address(handle):
        return handle
    if match := re.match(r"\w[\w.+-]*://", handle):
        raise TlkerasError(f"hub: takes a {_LEGAL}; {match[0]} is not supported. Received: {handle!r}")
    return str(Path(handle).expanduser().absolute())


def is_address(handle: str) -> bool:
    """Says whether a handle names a place on the network."""
    return re.match(r"https?://", handle) is not None


def beside(name: str) -> Path | None:
    """Returns where the run folder of `modules_in` has, or would have, its copy of the module of that name."""
    return _beside.get() / name if _beside.get() else None


def find(handle: str, name: str, sha256: str | None = None, copy: str | None = None) -> Path:
    """Finds the folder of a module: its copy in a run folder, where it was before in this process, or by its handle.

    Args:
        handle: Local folder or archive, or an address.
        name: Of the layer that it becomes, and of its copy in a run folder.
        sha256: Of its graph, where only this one will do.
        copy: Folder of the copy that a run made, when the model was saved.

    Raises:
        TlkerasError: There is none, or a copy of it was changed; the message names what was tried.
    """
    copies = list(dict.fromkeys(place for place in (beside(name), copy and Path(copy)) if place))
    for place in copies:
        if (place / GRAPH).is_file():
            modules.guard_copy(place)
            if sha256 in (None, graph_sha256(place)):
                return place
            # Where the model was saved, another run may stand by now.
            if place == beside(name):
                raise modules.changed(place, f"its {GRAPH} has another SHA-256")
    seen = _seen.get(sha256)
    if seen and (seen / GRAPH).is_file() and graph_sha256(seen) == sha256:
        modules.guard_again(seen)
        return seen
    try:
        place = locate(handle)
    except TlkerasError as error:
        if sha256 is None and not copies:
            raise
        tried = "".join(f"; nor is it in the run, {place}" for place in copies)
        raise TlkerasError(
            f"the {name} of the model is not found: {error}{tried}. Put it back, or take the copy that the run of the "
            f"model keeps: `tlkeras.Run(RUN).model`, or --backbone hub:RUN/{name}"
        ) from None
    if sha256 not in (None, graph_sha256(place)):
        raise TlkerasError(
            f"the module in {place} is not the one that the model was trained with: its {GRAPH} has another SHA-256"
        )
    return place


def locate(handle: str) -> Path:
    """Finds the folder of a module by its handle alone, fetching or unpacking it if need be.

    Raises:
        TlkerasError: There is none, or one in a cache is not what it was when it came there.
    """
    handle = absolute(handle)
    if is_address(handle):
        folder = next((place for place in modules.places(handle) if (place / GRAPH).is_file()), None)
        folder = folder or _download(handle)
        modules.guard(folder)
        return folder
    path = Path(handle)
    if path.is_file():
        return _unpacked(path)
    if path.is_dir() and path.parent.resolve() == modules.kept().resolve():
        modules.guard(path)
    if not (path / GRAPH).is_file():
        state = f"has no {GRAPH}" if path.is_dir() else "does not exist"
        raise TlkerasError(f"{handle} {state}: hub: takes a {_LEGAL}")
    return path


def is_here(handle: str) -> bool:
    """Says whether a module need not be fetched: it is local, or in a cache."""
    return not is_address(handle) or any((place / GRAPH).is_file() for place in modules.places(handle))


def graph_sha256(folder: Path) -> str:
    """Computes the SHA-256 of a module's graph, which tells it from others, and remembers where it lies."""
    digest = checksums.digest(folder / GRAPH)
    _seen[digest] = folder
    return digest


def keep(source: Path, target: Path) -> None:
    """Copies a module to a folder, whole or not at all, unless it is there."""
    if target.exists():
        return
    with folder_aside(target) as aside:
        for part in _PARTS:
            if (source / part).is_dir():
                shutil.copytree(source / part, aside / part, copy_function=shutil.copyfile)
            elif (source / part).is_file():
                shutil.copyfile(source / part, aside / part)
        checksums.record(target, checksums.of_folder(aside))


def _unpacked(archive: Path) -> Path:
    folder = modules.kept() / checksums.digest(archive)[:16]

    def check(aside: Path) -> None:
        _check_graph(_top(aside), "it")
        checksums.record(folder, checksums.of_folder(aside))

    if not folder.is_dir():
        try:
            extract(archive, folder, check=check)
        except TlkerasError:
            # Another process may have been faster.
            if not folder.is_dir():
                raise
    modules.guard(folder)
    return _top(folder)


def _top(folder: Path) -> Path:
    inside = list(folder.iterdir())
    # The archives of TF-Hub have no folder at their top; others do.
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def _check_graph(folder: Path, what: str) -> None:
    if not (folder / GRAPH).is_file():
        raise TlkerasError(f"{what} is no SavedModel: it has no {GRAPH}")
    try:
        graphs = SavedModel.FromString((folder / GRAPH).read_bytes()).meta_graphs
    except DecodeError:
        graphs = []
    if not graphs:
        raise TlkerasError(f"{what} is no SavedModel: its {GRAPH} is damaged")


def _download(handle: str) -> Path:
    if not _downloads.get():
        raise TlkerasError(
            f"the module {handle} is not on this machine, and is not downloaded just to be looked at: "
            f"`tlkeras zoo fetch hub:{handle}` and `tlkeras train` fetch it. Or put its unpacked folder at "
            f"{modules.folder_of(handle)}, or let TFHUB_CACHE_DIR name the cache of TensorFlow Hub that has it, or "
            f"give a folder or an archive: hub:FOLDER"
        )
    try:
        with warnings.catch_warnings():
            # It still asks setuptools for a package that setuptools would rather forget.
            warnings.simplefilter("ignore")
            import tensorflow_hub
    except ImportError as error:
        raise TlkerasError(
            f"modules of TF-Hub are fetched by TensorFlow Hub: pip install 'tlkeras[hub]' ({error})"
        ) from error
    try:
        folder = Path(tensorflow_hub.resolve(handle))
    except (OSError, ValueError, EOFError, RuntimeError, tarfile.TarError, tf.errors.OpError) as error:
        without_hub = [name for task in zoo.TASKS for name in weights.without_hub(task)]
        raise TlkerasError(
            f"the module {handle} could not be fetched by TensorFlow Hub: {in_one_line(error)}. Check the network and "
            f"its proxy, or put the module's unpacked folder at {modules.folder_of(handle)}, or give that folder: "
            f"hub:FOLDER; or take a backbone that needs no model hub: {', '.join(without_hub)}"
        ) from None
    _check_graph(folder, f"what {handle} gave, and {folder} holds (remove it to try again),")
    return folder
