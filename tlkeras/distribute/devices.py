"""Which devices of which machines train: a tf.distribute strategy from what the user and the surroundings say."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence

import tensorflow as tf
from tensorflow.python.eager import context

from tlkeras import cluster
from tlkeras.errors import TlkerasError, unknown_name

SPELLINGS = ("auto", "cpu", "cpu:N", "gpu", "gpu:0,1", "tpu", "tpu:NAME")


def strategy(devices: str = "auto", *, timeout_seconds: float | None = None) -> tf.distribute.Strategy:
    """Makes the strategy for the devices of this machine, and for all workers where TF_CONFIG or Slurm names several.

    Call it first: TensorFlow settles its devices and its peers when it is first used. The memory of GPUs is taken as it
    is needed.

    Args:
        devices: `auto` (all GPUs, or else the CPU), `cpu`, `gpu`, `gpu:0,1` (these only), `cpu:N` (N logical devices on
            the CPU, to try things out), `tpu` or `tpu:NAME`.
        timeout_seconds: After how long without an answer a collective operation of many workers fails; None is never.

    Returns:
        The default strategy for one device, a `MirroredStrategy` for several, a `MultiWorkerMirroredStrategy` for
        several workers, or a `TPUStrategy`.

    Raises:
        TlkerasError: The spelling is unknown, the devices are not there, TensorFlow was used before, or the
            surroundings describe a cluster that is none.
    """
    return settle(devices, timeout_seconds=timeout_seconds)()


def settle(
    devices: str, *, timeout_seconds: float | None = None, patience_seconds: float = 3600.0
) -> Callable[[], tf.distribute.Strategy]:
    """Settles the devices of this machine: the first half of `strategy`, in which no other worker is waited for.

    Args:
        devices: As of `strategy`.
        timeout_seconds: As of `strategy`.
        patience_seconds: How long the others are waited for. TensorFlow holds Python's lock meanwhile: no other thread
            runs, and no signal is heard.

    Returns:
        A function that makes the strategy, and waits for the other workers where there are any; it raises an error of
        `tf.errors` where one of them does not come.

    Raises:
        TlkerasError: As `strategy`.
    """
    kind, _, which = devices.partition(":")
    if kind not in {spelling.partition(":")[0] for spelling in SPELLINGS} or (kind == "auto" and which):
        raise unknown_name("devices", devices, SPELLINGS)
    found = cluster.from_environment()
    if kind == "tpu":
        return functools.partial(_tpu, which)
    if kind == "cpu":
        count = _count(devices, which) if which else 1
        if count > 1 and found:
            raise TlkerasError(f"cpu:N is for one machine: say cpu where many workers train. Received: {devices!r}")
        _settle(lambda: _use_cpu(count))
        if count > 1:
            names = [f"CPU:{index}" for index in range(count)]
            return lambda: tf.distribute.MirroredStrategy(names, tf.distribute.ReductionToOneDevice())
    else:
        _use_gpus(devices, kind, which)
    if found:
        return functools.partial(_many_workers, found, timeout_seconds, patience_seconds)
    gpus = len(tf.config.get_visible_devices("GPU"))
    return tf.distribute.MirroredStrategy if gpus > 1 else tf.distribute.get_strategy


def describe(strategy: tf.distribute.Strategy) -> str:
    """Says in one line what trains: `2 x CPU, MirroredStrategy`, `4 workers with 1 x CPU each, …`."""
    names = ("MirroredStrategy", "MultiWorkerMirroredStrategy", "TPUStrategy")
    name = next((name for name in names if isinstance(strategy, getattr(tf.distribute, name))), None)
    if name is None:
        return "1 x GPU" if tf.config.get_visible_devices("GPU") else "1 x CPU"
    kind = tf.DeviceSpec.from_string(strategy.extended.worker_devices[0]).device_type
    local = len(strategy.extended.worker_devices)
    workers = strategy.num_replicas_in_sync // local
    among = f"{workers} workers with {local} x {kind} each" if workers > 1 else f"{local} x {kind}"
    return f"{among}, {name}"


def is_chief() -> bool:
    """Says whether this process writes what a training leaves behind: worker 0, or one that trains alone."""
    found = cluster.from_environment()
    return found is None or found.is_chief


def kind() -> str:
    """Says what computes in the scope that this is called in: `CPU`, `GPU` or `TPU`."""
    if isinstance(tf.distribute.get_strategy(), tf.distribute.TPUStrategy):
        return "TPU"
    return "GPU" if tf.config.get_visible_devices("GPU") else "CPU"


def precision_for(setting: str, kind: str, capabilities: Sequence[tuple[int, int]] = ()) -> str:
    """Decides `auto` among the settings of mixed precision by what computes fast in it.

    Args:
        setting: `none`, `float16`, `bfloat16` or `auto`; all but `auto` stay.
        kind: `CPU`, `GPU` or `TPU`.
        capabilities: The CUDA compute capability of each GPU that trains; tensor cores are there from (7, 0) on.

    Returns:
        `float16` (with loss scaling) where all GPUs have tensor cores, `bfloat16` on TPUs, `none` elsewhere.
    """
    if setting != "auto":
        return setting
    if kind == "TPU":
        return "bfloat16"
    tensor_cores = bool(capabilities) and min(capabilities) >= (7, 0)
    return "float16" if kind == "GPU" and tensor_cores else "none"


def capabilities() -> list[tuple[int, int]]:
    """Gives the compute capability of each GPU in use; (0, 0) for one that has none to tell, as other makers' have."""
    details = map(tf.config.experimental.get_device_details, tf.config.get_visible_devices("GPU"))
    return [tuple(one.get("compute_capability", (0, 0))) for one in details]


def _count(devices: str, which: str) -> int:
    if not which.isdecimal() or int(which) < 1:
        raise TlkerasError(f"cpu:N takes the number of logical devices, 1 or more. Received: {devices!r}")
    return int(which)


def _settle(change) -> None:
    try:
        change()
    except RuntimeError:
        raise TlkerasError(
            "the devices must be chosen before TensorFlow is first used in a process: make the strategy first"
        ) from None


def _use_cpu(count: int) -> None:
    if tf.config.get_visible_devices("GPU"):
        tf.config.set_visible_devices([], "GPU")
    cpu = tf.config.list_physical_devices("CPU")[0]
    if count > 1 and len(tf.config.get_logical_device_configuration(cpu) or ()) != count:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * count)


def _use_gpus(devices: str, kind: str, which: str) -> None:
    there = tf.config.list_physical_devices("GPU")
    if kind == "gpu" and not there:
        raise TlkerasError(
            f"TensorFlow sees no GPU here, only the CPU: say cpu or auto, or look at what nvidia-smi and "
            f"tf.config.list_physical_devices() say. Received: {devices!r}"
        )
    chosen = there
    if which:
        indices = which.split(",")
        legal = {str(index): gpu for index, gpu in enumerate(there)}
        if unknown := [index for index in indices if index not in legal]:
            raise unknown_name(f"GPU in {devices!r}", unknown[0], legal)
        if len(set(indices)) < len(indices):
            raise TlkerasError(f"a GPU is named twice. Received: {devices!r}")
        chosen = [legal[index] for index in indices]
    if chosen != tf.config.get_visible_devices("GPU"):
        _settle(lambda: tf.config.set_visible_devices(chosen, "GPU"))
    if any(tf.config.experimental.get_memory_growth(gpu) is not True for gpu in chosen):
        _settle(lambda: [tf.config.experimental.set_memory_growth(gpu, True) for gpu in chosen])


def _many_workers(
    found: cluster.Cluster, timeout_seconds: float | None, patience_seconds: float
) -> tf.distribute.Strategy:
    # Slurm's variables are turned into TF_CONFIG, the one form from here on.
    os.environ["TF_CONFIG"] = found.tf_config()
    resolver = tf.distribute.cluster_resolver.TFConfigClusterResolver()
    collectives = tf.distribute.experimental.CommunicationImplementation
    gpus = tf.config.get_visible_devices("GPU")
    options = tf.distribute.experimental.CommunicationOptions(
        implementation=collectives.AUTO if gpus else collectives.RING, timeout_seconds=timeout_seconds
    )
    _wait_at_most(patience_seconds, found.size)
    made = []
    _settle(lambda: made.append(tf.distribute.MultiWorkerMirroredStrategy(resolver, options)))
    return made[0]


def _wait_at_most(seconds: float, workers: int) -> None:
    """Says how long TensorFlow waits for the other workers, an hour by default; it has no public name for that."""
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=int(1000 * seconds),
        coordinated_jobs=[context.coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=workers)],
    )
    # Else it takes those that came, and then waits for the others without an end.
    context.context().coordination_service.cluster_register_with_barrier = True


def _tpu(name: str) -> tf.distribute.Strategy:
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver(tpu=name or "")
        tf.config.experimental_connect_to_cluster(resolver)
        tf.tpu.experimental.initialize_tpu_system(resolver)
    except (ValueError, OSError, tf.errors.OpError) as error:
        raise TlkerasError(
            f"TensorFlow finds no TPU here: on a TPU's own machine say tpu:local, elsewhere its name. "
            f"Received: {f'tpu:{name}' if name else 'tpu'!r} ({str(error).splitlines()[0]})"
        ) from None
    return tf.distribute.TPUStrategy(resolver)
