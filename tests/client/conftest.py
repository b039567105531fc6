import pytest
from serving_server import Server

from tlkeras.client import Patience


@pytest.fixture(scope="session")
def _server(telling):
    server = Server(telling)
    yield server
    server.stop()


@pytest.fixture
def server(_server):
    """One server for all tests, as new for each."""
    _server.failures, _server.largest, _server.states = [], None, {}
    _server.requests, _server.sizes, _server.changed = [], [], lambda outputs: outputs
    return _server


@pytest.fixture(params=["rest", "grpc"])
def address(request, server):
    return getattr(server, request.param)


@pytest.fixture
def quick():
    return Patience(timeout=20, pause=0.01)
