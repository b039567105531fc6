"""Backbones with random weights, each built once for all tests of this folder."""

import functools

import pytest

from tlkeras import zoo
from tlkeras.backbones import load


@pytest.fixture(scope="session")
def backbone():
    return functools.cache(lambda name: load(zoo.card(name), "random"))


@pytest.fixture
def own_weights_folder(request, monkeypatch):
    """Real weights are kept from one test run to the next, apart from the user's own."""
    monkeypatch.setenv("TLKERAS_HOME", str(request.config.cache.mkdir("tlkeras-home")))
