"""What a step of training takes on many GPUs, on paper: from FLOPs, the bytes of the gradients, and links."""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import tlkeras

CLASSES = [f"class{index}" for index in range(12)]
IMAGE_SIZE, BATCH_PER_GPU = 224, 128

# Images/s that one A100 trains, all weights, mixed precision, 224 pixels; docs/scaling.md says where they are from.
TRAINED_PER_SECOND = {"efficientnet_v2_b0": 4911, "resnet50": 2375, "convnext_base": 660}


@dataclass(frozen=True)
class Link:
    """What a collective gets of a link: bytes a second in one direction, and seconds until the first one arrives."""

    bandwidth: float
    latency: float


# NVLink 3 gives 300 GB/s in one direction, of which a ring of this length of message keeps two thirds.
NVLINK = Link(200e9, 3e-6)
# 100 Gb/s for each machine with its 8 GPUs, of which 90 % are payload.
NETWORK = Link(0.9 * 100e9 / 8, 15e-6)


def ring(size: float, peers: int, link: Link) -> float:
    """Gives the seconds of an all-reduce of `size` bytes: `2 (n-1)/n · size / bandwidth + 2 (n-1) · latency`.

    On a ring, each peer sends and receives 2 (n-1) pieces of 1/n: Patarasuk and Yuan, 2009.
    """
    return 2 * (peers - 1) * (size / peers / link.bandwidth + link.latency)


def all_reduce(size: float, gpus: int, machines: int) -> float:
    """Gives the seconds of an all-reduce over `machines` with `gpus` each.

    Within a machine, the GPUs sum such that each holds 1/gpus; these parts are summed over the machines, all at once on
    the machine's one link; and within the machine each gets all parts. That is a ring within and a ring between.
    """
    return ring(size, gpus, NVLINK) + (ring(size, machines, NETWORK) if machines > 1 else 0.0)


def efficiency(compute: float, size: float, gpus: int, machines: int, overlap: float = 0.0) -> float:
    """Gives the part of their speed alone that the GPUs keep, at the same batch for each: `compute / (compute + wait)`.

    Args:
        compute: Seconds of a step on one GPU.
        size: Bytes of the gradients.
        gpus: GPUs a machine.
        machines: How many machines.
        overlap: Seconds of the step in which gradients could be reduced while others are computed.
    """
    return compute / (compute + max(0.0, all_reduce(size, gpus, machines) - overlap))


@dataclass(frozen=True)
class Counted:
    """What was counted of a model with one plan of what is trainable.

    Attributes:
        parameters: How many train.
        tensors: How many weights they are in.
        forward: FLOPs of an image in the forward pass.
        backward: FLOPs of an image in the backward pass: twice those from the first layer that trains on.
    """

    parameters: int
    tensors: int
    forward: float
    backward: float

    @property
    def flops(self) -> float:
        """FLOPs of an image in training."""
        return self.forward + self.backward

    @property
    def size(self) -> int:
        """Bytes of the gradients: float32, also with mixed precision, where weights are float32."""
        return 4 * self.parameters


def count(backbone: str) -> dict[str, Counted]:
    """Counts a backbone with a head of twelve classes, BatchNorm frozen, for each plan."""
    options = {"weights": "random", "image_size": IMAGE_SIZE, "mixed_precision": "none"}
    model = tlkeras.build(backbone, classes=CLASSES, **options)
    forward = flops(model)
    counted = {}
    for plan in ("all", "top:2", "head"):
        tlkeras.trainable.plan(model, plan).apply(model)
        first = next(layer for layer in model.layers if layer.trainable_weights)
        below = flops(keras.Model(model.input, first.input))
        weights = model.trainable_weights
        parameters = sum(math.prod(weight.shape) for weight in weights)
        counted[plan] = Counted(parameters, len(weights), forward, 2 * (forward - below))
    return counted


def flops(model: keras.Model) -> float:
    """Counts additions and multiplications of one image, forward, as TensorFlow's profiler does: two for each MAC."""
    function = tf.function(lambda images: model(images, training=False))
    concrete = function.get_concrete_function(tf.TensorSpec((1, IMAGE_SIZE, IMAGE_SIZE, 3)))
    graph = convert_variables_to_constants_v2(concrete).graph
    options = tf.compat.v1.profiler.ProfileOptionBuilder.float_operation() | {"output": "none"}
    return tf.compat.v1.profiler.profile(graph, options=options).total_float_ops


def show() -> None:
    """Prints what was counted, and the efficiency that follows."""
    counts = {backbone: count(backbone) for backbone in TRAINED_PER_SECOND}
    print("gradients, with a head of 12 classes, and FLOPs of an image in training")
    _line("", "", "parameters", "tensors", "gradients", "GFLOP")
    for backbone, plans in counts.items():
        for plan, one in plans.items():
            cells = f"{one.parameters:,}", str(one.tensors), f"{one.size / 1e6:.2f} MB", f"{one.flops / 1e9:.2f}"
            _line(backbone, plan, *cells)
    print(f"\nan A100 with {BATCH_PER_GPU} images: step, and all-reduce on 8 GPUs and on 8 machines with 8")
    _line("", "", "TFLOP/s", "images/s", "step", "8", "8 x 8")
    steps = {}
    for backbone, plans in counts.items():
        achieved = TRAINED_PER_SECOND[backbone] * plans["all"].flops
        for plan, one in plans.items():
            step = steps[backbone, plan] = BATCH_PER_GPU * one.flops / achieved
            reduced = (f"{1e3 * all_reduce(one.size, 8, machines):.2f} ms" for machines in (1, 8))
            speed = f"{BATCH_PER_GPU / step:.0f}"
            _line(backbone, plan, f"{achieved / 1e12:.1f}", speed, f"{1e3 * step:.1f} ms", *reduced)
    print("\nefficiency at the same batch for each GPU")
    _line("", "", "8", "8 x 8", "8 x 8, step/2", "8 x 8, step/4", "8 x 8, overlapped")
    for (backbone, plan), step in steps.items():
        size = counts[backbone][plan].size
        cells = [efficiency(step / part, size, 8, machines) for part, machines in ((1, 1), (1, 8), (2, 8), (4, 8))]
        # Gradients come in the backward pass, one after the other.
        one = counts[backbone][plan]
        cells.append(efficiency(step, size, 8, 8, overlap=step * one.backward / one.flops))
        _line(backbone, plan, *(f"{cell:.1%}" for cell in cells))


def _line(backbone: str, plan: str, *cells: str) -> None:
    print(f"  {backbone:<20}{plan:<7}" + "".join(f"{cell:>18}" for cell in cells))
