"""An export in TensorFlow's C library, with no Python: the C program in `native/`, compiled when it is first needed."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

from tlkeras.checksums import digest
from tlkeras.errors import TlkerasError
from tlkeras.files import UNFINISHED
from tlkeras.places import cache_folder

_SOURCES = Path(__file__).parent / "native"
_LIBRARIES = ("libtensorflow_cc.so.2", "libtensorflow_framework.so.2")
_FLAGS = ("-std=c11", "-D_GNU_SOURCE", "-O2", "-Wall", "-Wextra", "-pthread")
_SECONDS_TO_COMPILE = 300


class NoRuntime(TlkerasError):
    """The C program cannot be had here: no compiler, or one that cannot compile it. Nothing is wrong with an export."""


def program() -> Path:
    """Returns the compiled C program, from the cache or made now; it takes seconds, once for each TensorFlow.

    Raises:
        NoRuntime: There is no C compiler, or it failed.
    """
    folder = Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
    compiler = _compiler()
    sources = sorted(_SOURCES.glob("*.[ch]"))
    parts = [*(file.name.encode() + file.read_bytes() for file in sources), version("tensorflow").encode()]
    parts += [os.fsencode(folder), *map(os.fsencode, compiler), *(flag.encode() for flag in _FLAGS)]
    mark = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).hexdigest()[:16]
    home, begins = cache_folder() / "native", f"runtime-{mark}-"
    # The name says what is in it, so that a damaged one is made again.
    for kept in home.glob(f"{begins}*"):
        if os.access(kept, os.X_OK) and kept.name == begins + digest(kept)[:16]:
            return kept
    missing = [name for name in _LIBRARIES if not (folder / name).is_file()]
    if missing:
        raise NoRuntime(f"TensorFlow in {folder} has no {missing[0]}")
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home, prefix=UNFINISHED) as scratch:
            made = Path(scratch, "runtime")
            _compile(compiler, [file for file in sources if file.suffix == ".c"], folder, made)
            return made.replace(home / f"{begins}{digest(made)[:16]}")
    except OSError as error:
        raise NoRuntime(f"the C program cannot be kept in {home}: {error.strerror}; set TLKERAS_HOME") from error


def libraries(needs: Iterable[str]) -> list[Path]:
    """Lists the libraries with the operations of the packages that an export needs.

    Raises:
        TlkerasError: One is not installed.
    """
    found = []
    for package in needs:
        spec = importlib.util.find_spec(package)
        if spec is None:
            raise TlkerasError(f"the export needs {package}, which is not installed: pip install {package}")
        found += sorted(Path(spec.submodule_search_locations[0]).glob("python/ops/*.so"))
    return found


def command(export: Path, needs: Iterable[str] = (), *, intra: int = 0, inter: int = 0) -> list[str]:
    """Words the command that serves an export on standard input and output; 0 leaves the threads to TensorFlow.

    Raises:
        NoRuntime: There is no C compiler, or it failed.
        TlkerasError: A package that the export needs is not installed.
    """
    words = [str(program()), str(Path(export).absolute())]
    for library in libraries(needs):
        words += ["--library", str(library)]
    return [*words, "--intra", str(intra), "--inter", str(inter)]


def environment() -> dict[str, str]:
    """The environment for the program: TensorFlow's C++ side says less there."""
    return {"TF_CPP_MIN_LOG_LEVEL": "3", **os.environ}


def sustained_load(
    export: Path, requests: Sequence[bytes], seconds: float, threads: int, needs: Iterable[str] = (), **options: int
) -> dict[str, float]:
    """Has the C program answer serialised requests from several threads in turn.

    Returns:
        `requests` and `rows` answered, `refused`, `rows_per_second`, `p50_ms` and `p99_ms` from the serialised request
        to the serialised response, and `rss_begin_kb` and `rss_end_kb`, what was resident then.

    Raises:
        NoRuntime: There is no C compiler, or it failed.
        TlkerasError: The export cannot be loaded, or the program ended otherwise.
    """
    words = [*command(export, needs, **options), "--load", str(seconds), "--threads", str(threads)]
    frames = b"".join(len(request).to_bytes(4, "little") + request for request in requests)
    try:
        done = subprocess.run(words, input=frames, capture_output=True, env=environment(), timeout=seconds + 300)
    except subprocess.TimeoutExpired as error:
        raise TlkerasError(f"the C runtime did not end in time ({error.timeout:.0f} s)") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise TlkerasError(f"the C runtime ended with {done.returncode}{f': {said[-1]}' if said else ''}")
    return json.loads(done.stdout)


def _compiler() -> list[str]:
    try:
        wanted = shlex.split(os.environ.get("CC", ""))
    except ValueError as error:
        raise NoRuntime(f"CC is no command: {error}") from error
    for words in [wanted] if wanted else (["cc"], ["gcc"], ["clang"]):
        if found := shutil.which(words[0]):
            return [found, *words[1:]]
    raise NoRuntime(f"there is no C compiler ({f'CC is {wanted[0]}' if wanted else 'cc, gcc or clang'})")


def _compile(compiler: list[str], sources: list[Path], folder: Path, target: Path) -> None:
    linked = [str(folder / name) for name in _LIBRARIES]
    words = [*compiler, *_FLAGS, "-isystem", str(folder / "include"), *map(str, sources), *linked]
    words += [f"-Wl,-rpath,{folder}", "-o", str(target)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", timeout=_SECONDS_TO_COMPILE)
    except subprocess.TimeoutExpired as error:
        raise NoRuntime(f"{compiler[0]} did not compile the C program within {error.timeout} s") from error
    if done.returncode or not target.is_file():
        lines = done.stderr.splitlines()
        first = next(
            (line for line in lines if re.search(r"\berror\b", line)), lines[0] if lines else "it says nothing"
        )
        raise NoRuntime(f"{compiler[0]} cannot compile the C program: {first.strip()[:300]}")
