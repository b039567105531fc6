"""`tlkeras train --ray`: the workers are processes of Ray Train, and this process shows what their chief shows.

Ray places the processes, writes TF_CONFIG for each and ends all when one is lost; the rest is as everywhere.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator

from tlkeras import leaving
from tlkeras.cluster import ray_connection
from tlkeras.cluster.ray_channel import Channel, Told, connected_output
from tlkeras.errors import TlkerasError, TryAgain, in_one_line

# What the terminal of this process can do, for the chief to write as if it had it.
_TERMINAL = ("TERM", "COLORTERM", "NO_COLOR")
# Seconds between two looks, for the actor to start, and for workers to end by themselves.
_PAUSE, _START, _GRACE = 0.2, 60.0, 20.0


def run(task: Callable[..., None], address: str, workers: int, *, devices: str, timeout: float) -> None:
    """Has Ray Train's `TensorflowTrainer` run a task in several processes, and waits for their end.

    Args:
        task: Called in each with `devices`, gpu or cpu, and `tell`, a function that takes the error which is about to
            end the process.
        address: Of Ray: `local` starts one on this machine for as long as the task takes; else as `ray.init` takes it.
        workers: How many processes, each with a CPU, and a GPU where there are any.
        devices: `auto`, `cpu` or `gpu`.
        timeout: Seconds for Ray to start all of them.

    Raises:
        TlkerasError: Ray cannot be used or is too small, or what a worker raised.
        TryAgain: Ray did not start the workers in time, one of them was lost, or this process was told to leave.
    """
    streams = {1: sys.stdout, 2: sys.stderr}
    ray = ray_connection.load()
    with (
        ray_connection.silence(),
        ray_connection.connected(ray, address),
        leaving.on_sigterm() as told,
        _storage() as storage,
    ):
        resources = _resources(ray, address, workers, devices, streams[2])
        channel = ray.remote(num_cpus=0)(Channel).remote()
        _check_nodes(ray, channel)
        terminals = {number: stream.isatty() for number, stream in streams.items()}
        environment = {name: os.environ[name] for name in _TERMINAL if name in os.environ}
        environment["COLUMNS"] = str(shutil.get_terminal_size().columns)
        # A worker that got no GPU from Ray must not take those that it sees.
        given = functools.partial(task, devices="gpu" if "GPU" in resources else "cpu")
        trainer = ray.train.tensorflow.TensorflowTrainer(
            lambda: _work(given, channel, environment, terminals),
            scaling_config=ray.train.ScalingConfig(
                num_workers=workers, use_gpu="GPU" in resources, resources_per_worker=resources
            ),
            run_config=ray.train.RunConfig(storage_path=storage),
        )
        _Training(ray, trainer, channel, workers, timeout, told, streams).watch()


def _work(task, channel, environment, terminals) -> None:
    """What Ray calls in each worker."""
    import ray.train

    # Ray asks for Keras 2.
    os.environ.pop("TF_USE_LEGACY_KERAS", None)
    worker = ray.train.get_context().get_world_rank()
    ray.get(channel.begin.remote(worker))
    output = connected_output(channel, environment, terminals) if worker == 0 else contextlib.nullcontext(lambda: None)
    with contextlib.ExitStack() as stack:
        report = _Report(channel, worker)
        stack.push(report)
        report.send = stack.enter_context(output)
        task(tell=report.tell)


class _Report:
    """Tells the command why a worker ends."""

    send: Callable[[], None]

    def __init__(self, channel, worker: int):
        self._channel, self._worker = channel, worker

    def tell(self, error: Exception | str) -> None:
        import ray

        self.send()
        ray.get(self._channel.fail.remote(self._worker, error))

    def __exit__(self, kind, error: BaseException | None, trace) -> bool:
        if error is None:
            return False
        # Ray would kill the others at once; they hear of it from their meeting, and leave nothing behind.
        is_known = isinstance(error, (TlkerasError, OSError))
        import ray

        text = "".join(traceback.format_exception(kind, error, trace))
        ray.get(self._channel.fail.remote(self._worker, error if is_known else text))
        return True


class _Training:
    def __init__(self, ray, trainer, channel, workers: int, timeout: float, told: leaving.Leaving, streams):
        self._ray, self._channel, self._workers, self._timeout = ray, channel, workers, timeout
        self._leaving, self._told, self._streams = told, Told(), streams
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._fit, args=(trainer,), daemon=True)
        # A join that Ctrl-C breaks off takes the thread for one that has ended.
        self._is_over = threading.Event()
        self._end_by = float("inf")

    def watch(self) -> None:
        self._thread.start()
        try:
            self._wait()
        except KeyboardInterrupt:
            self._leave()
            with contextlib.suppress(TlkerasError):
                self._wait()
            raise
        self._raise()

    def _fit(self, trainer) -> None:
        try:
            trainer.fit()
        # Whatever it is, the other thread raises it.
        except BaseException as error:
            self._error = error
        finally:
            self._is_over.set()

    def _wait(self) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._is_over.is_set() and time.monotonic() < self._end_by:
            self._is_over.wait(_PAUSE)
            self._hear()
            if self._leaving.is_asked:
                self._leave()
            if self._told.errors:
                self._end_by = min(self._end_by, time.monotonic() + _GRACE)
            if len(self._told.begun) < self._workers and time.monotonic() > deadline and not self._is_over.is_set():
                raise TryAgain(
                    f"Ray started {len(self._told.begun)} of {self._workers} workers within {self._timeout:g} s; "
                    f"it has {_shown(self._ray.cluster_resources())} in all, "
                    f"{_shown(self._ray.available_resources())} free"
                )
        self._hear()

    def _hear(self) -> None:
        try:
            self._told = self._ray.get(self._channel.take.remote(), timeout=_START)
        except (self._ray.exceptions.RayError, ConnectionError) as error:
            raise TryAgain(f"Ray went away; start again with --resume ({in_one_line(error)})") from error
        for number, text in self._told.pieces:
            self._streams[number].write(text)
            self._streams[number].flush()

    def _leave(self) -> None:
        if self._end_by == float("inf"):
            # Who has not begun has nothing to end.
            self._end_by = time.monotonic() + (_GRACE if self._told.begun else 0)
            self._channel.ask_to_leave.remote()

    def _raise(self) -> None:
        unforeseen = [text for _, text in self._told.errors if isinstance(text, str)]
        if unforeseen:
            error = RuntimeError(unforeseen[0].strip().splitlines()[-1])
            error.add_note(unforeseen[0])
            raise error from self._error
        # What one raised comes from the others as well, who cannot go on. A mistake says more than its effect.
        for _, error in sorted(self._told.errors, key=lambda told: (isinstance(told[1], TryAgain), told[0])):
            raise error
        if self._leaving.is_asked:
            self._leaving.check()
        if isinstance(self._error, self._ray.train.WorkerGroupError):
            lost = ", ".join(f"worker {worker}" for worker in sorted(self._error.worker_failures)) or "a worker"
            raise TryAgain(f"{lost} went away; start again with --resume") from self._error
        if self._error:
            raise self._error


@contextlib.contextmanager
def _storage() -> Iterator[str]:
    """Gives Ray Train a folder for its notes, which nobody needs afterwards."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        yield folder


def _resources(ray, address: str, workers: int, devices: str, warnings) -> dict[str, float]:
    """Gives what each worker takes; refuses, or says what is waited for, where Ray does not have as much."""
    there = ray.cluster_resources()
    has_gpus = there.get("GPU", 0) > 0
    wanted = {"CPU": 1.0, "GPU": 1.0} if devices == "gpu" or (devices == "auto" and has_gpus) else {"CPU": 1.0}
    total = {kind: count * workers for kind, count in wanted.items()}
    needs = f"{workers} workers need {_shown(total)}"
    if address == "local" and any(there.get(kind, 0) < count for kind, count in total.items()):
        raise TlkerasError(f"{needs}; this machine has {_shown(there)}: take fewer workers")
    free = ray.available_resources()
    if any(free.get(kind, 0) < count for kind, count in total.items()):
        print(f"waiting for Ray: {needs}, and {_shown(free)} of its {_shown(there)} are free", file=warnings)
    return wanted


def _shown(resources: dict[str, float]) -> str:
    return " and ".join(f"{resources.get(kind, 0):g} {kind}" for kind in ("CPU", "GPU") if kind in resources) or "0 CPU"


def _check_nodes(ray, channel) -> None:
    try:
        ray.get(channel.take.remote(), timeout=_START)
    except ray.exceptions.RayError as error:
        lines = [line for line in str(error).splitlines() if "Error" in line]
        raise TlkerasError(
            f"Ray's processes cannot run tlkeras: install the same tlkeras[ray] on all its machines "
            f"({(lines or [type(error).__name__])[-1].strip()})"
        ) from error
