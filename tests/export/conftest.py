"""One export for the tests of this folder, and a C compiler where there is one."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import stand_in

from tlkeras.export import native_runtime


@pytest.fixture(scope="session")
def proven(tmp_path_factory) -> Path:
    """A small version with all that belongs to it, not to be changed."""
    return stand_in.write(tmp_path_factory.mktemp("proven") / "1")


@pytest.fixture
def copied(proven, tmp_path) -> Path:
    """The same, to be damaged."""
    return shutil.copytree(proven, tmp_path / "1")


@pytest.fixture(scope="session")
def program() -> Path:
    try:
        return native_runtime.program()
    except native_runtime.NoRuntime as error:
        pytest.skip(str(error))


@pytest.fixture
def no_compiler(monkeypatch) -> Callable[[], None]:
    """Takes the compiler away, and what it has compiled."""

    def take(folder: Path) -> None:
        monkeypatch.setenv("CC", "no-such-compiler")
        monkeypatch.setenv("TLKERAS_HOME", str(folder))

    return take
