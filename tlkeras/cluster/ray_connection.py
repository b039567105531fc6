"""This process and Ray: whether it is there, and how to be connected with it and hear nothing of it."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from tlkeras import consoles
from tlkeras.cluster.addresses import from_environment
from tlkeras.errors import TlkerasError, in_one_line

_MISSING = "--ray needs Ray: pip install 'tlkeras[ray]'"
_SETTINGS = {
    # The trainer of Ray that this was tested with; the older one takes the same arguments.
    "RAY_TRAIN_V2_ENABLED": "1",
    # Workers stay where they were started, so that relative paths in the environment go on to mean the same.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # What libraries log for their developers, and each text that is printed, once more in Ray's own log.
    "RAY_TRAIN_ENABLE_WORKER_STRUCTURED_LOGGING": "0",
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    "RAY_BACKEND_LOG_LEVEL": "fatal",
}
# Seconds to reach an address.
_REACH = 5.0


def check(address: str, devices: str) -> None:
    """Finds out what can be known without loading Ray.

    Raises:
        TlkerasError: Ray is not installed, nobody answers at the address, it or the devices are none for Ray, or this
            process is a worker already.
    """
    if from_environment():
        raise TlkerasError("TF_CONFIG or Slurm's variables name workers already: leave out --ray, or start one process")
    if devices not in ("auto", "cpu", "gpu"):
        raise TlkerasError(f"Ray hands out the devices: say auto, cpu or gpu with --ray. Received: {devices!r}")
    if importlib.util.find_spec("ray") is None:
        raise TlkerasError(_MISSING)
    if address not in ("local", "auto"):
        _check_reachable(address)


def load():
    """Loads Ray and its trainer for TensorFlow, which loads TensorFlow.

    Raises:
        TlkerasError: Ray is not installed, or not as a whole.
    """
    os.environ.update({name: os.environ.get(name, value) for name, value in _SETTINGS.items()})
    try:
        import ray
        import ray.exceptions
        import ray.train
        import ray.train.tensorflow
    except ImportError as error:
        raise TlkerasError(f"{_MISSING} ({in_one_line(error)})") from error
    return ray


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keeps off the terminal what Ray prints of its own: all that matters is raised as well."""
    if consoles.shows_everything():
        yield
        return
    with (
        Path(os.devnull).open("w") as nothing,
        contextlib.redirect_stdout(nothing),
        contextlib.redirect_stderr(nothing),
    ):
        yield


@contextlib.contextmanager
def connected(ray, address: str) -> Iterator[None]:
    """Connects this process with the Ray at an address, or starts one, while the block runs.

    Raises:
        TlkerasError: That cannot be done.
    """
    settings = {"log_to_driver": False, "logging_level": "ERROR"}
    if address == "local":
        # What is on for as long as one command runs needs no page to look at, and tells nobody of it.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        settings["include_dashboard"] = False
    try:
        with consoles.no_standard_error():
            ray.init(address, **settings)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, ray.exceptions.RayError) as error:
        if address == "auto" and "Could not find any running Ray" in str(error):
            raise TlkerasError("no Ray runs here: start one (ray start --head), or say --ray local") from None
        hint = "" if address == "local" else "; a Ray that asks for its token needs RAY_AUTH_MODE=token here"
        raise TlkerasError(f"Ray cannot be used at {address!r}: {in_one_line(error).rstrip('.')}{hint}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    try:
        place = urlsplit(address if "://" in address else f"//{address}")
        host, port = place.hostname, place.port
    except ValueError:
        host = port = None
    if not host or not port or place.scheme not in ("", "ray"):
        raise TlkerasError(f"--ray takes local, auto, HOST:PORT or ray://HOST:PORT. Received: {address!r}")
    try:
        socket.create_connection((host, port), _REACH).close()
    except OSError as error:
        raise TlkerasError(f"no Ray answers at {address!r} ({error.strerror or error})") from None
