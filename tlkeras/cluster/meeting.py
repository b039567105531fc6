"""How the workers of a cluster meet, over the addresses that TensorFlow uses afterwards.

Each takes its own port, so that one in use is told at once; the chief waits for all and compares settings and versions.
The connections stay open while TensorFlow trains, so that all hear within seconds when a worker was killed. Whoever can
reach the chief's port can speak there, as with TensorFlow's own servers; what comes in is data, bounded, and never run.
"""

from __future__ import annotations

import contextlib
import errno
import json
import platform
from collections.abc import Mapping
from importlib import metadata

from tlkeras import __version__
from tlkeras.cluster.addresses import Cluster
from tlkeras.cluster.chief import Chief
from tlkeras.cluster.follower import Follower, report
from tlkeras.cluster.peer import Meeting
from tlkeras.errors import TlkerasError

__all__ = ["Meeting", "code_versions", "join"]

# The names under which TensorFlow is installed.
_TENSORFLOWS = ("tensorflow", "tensorflow-cpu", "tf-nightly")


def join(cluster: Cluster, settings: Mapping[str, object], timeout: float) -> Meeting:
    """Waits until all workers are here and agree.

    Args:
        cluster: Who takes part.
        settings: What must be the same in all workers beside the versions of the code; whatever JSON has.
        timeout: Seconds from now until which the others have to come.

    Returns:
        The meeting, a context manager.

    Raises:
        TlkerasError: The port of this worker is in use, two workers have the same number, or one differs.
        TryAgain: A worker did not come.
    """
    given = {**code_versions(), "workers": " ".join(cluster.addresses), **settings}
    # What has gone through JSON is compared, so that a tuple is equal to the list it becomes.
    fingerprint = json.loads(json.dumps(given))
    with contextlib.ExitStack() as failed:
        try:
            with _own_port(cluster):
                met = failed.enter_context((Chief if cluster.is_chief else Follower)(cluster, fingerprint))
        except TlkerasError as error:
            said = report(cluster, fingerprint, error)
            raise TlkerasError(f"{error}: {said}" if said else str(error)) from None
        met.gather(timeout)
        failed.pop_all()
    return met


def code_versions() -> dict[str, str]:
    """Gives the versions of all that must be the same in all workers; imports none of it."""
    tensorflow = next((found for name in _TENSORFLOWS if (found := _version(name))), None)
    python = ".".join(platform.python_version_tuple()[:2])
    return {"tlkeras": __version__, "tensorflow": tensorflow, "keras": _version("keras"), "Python": python}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


@contextlib.contextmanager
def _own_port(cluster: Cluster):
    try:
        yield
    except OSError as error:
        problem = f"cannot be taken on this machine ({error.strerror})"
        if error.errno == errno.EADDRINUSE:
            problem = "is in use on this machine, by another program or by a training that has not ended; end that"
        raise TlkerasError(
            f"the port of {cluster.name(cluster.index)} {problem}, or name another port in TF_CONFIG of all workers"
        ) from None
