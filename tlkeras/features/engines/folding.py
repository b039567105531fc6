"""BatchNorm folded into the convolution before it: the same function, with nothing left to normalise."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import keras
import numpy as np

_LAST_AXIS = (keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D, keras.layers.Dense)
_POINTWISE = (keras.layers.SeparableConv1D, keras.layers.SeparableConv2D)
_DEPTHWISE = (keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D)


@dataclass(frozen=True)
class Folding:
    """What a model computes with in the place of some of its weights and layers.

    Attributes:
        weights: Values by the `id` of the variable.
        shifts: What to add to the last axis, in the place of the BatchNorm, by the layer's `id`.
    """

    weights: dict[int, np.ndarray] = field(default_factory=dict)
    shifts: dict[int, np.ndarray] = field(default_factory=dict)


def fold(model: keras.Model) -> Folding:
    """Folds each BatchNorm that normalises nothing but the output of one linear layer with its moving statistics.

    The model is left as it is; what cannot be folded stays out of the result.
    """
    folding = Folding()
    nodes = [node for nodes in model._nodes_by_depth.values() for node in nodes]
    uses = Counter(id(node.operation) for node in nodes)
    consumers = Counter(id(tensor) for node in nodes for tensor in node.input_tensors)
    consumers.update(id(tensor) for tensor in model.outputs)
    for node in nodes:
        norm = node.operation
        if type(norm) is not keras.layers.BatchNormalization or uses[id(norm)] > 1 or len(node.input_tensors) > 1:
            continue
        (tensor,) = node.input_tensors
        linear = tensor._keras_history.operation
        if consumers[id(tensor)] == uses[id(linear)] == 1 and _can_fold(linear, norm, len(tensor.shape)):
            _fold_pair(linear, norm, folding)
    return folding


def _can_fold(linear: keras.Operation, norm: keras.layers.BatchNormalization, rank: int) -> bool:
    return (
        type(linear) in (*_LAST_AXIS, *_POINTWISE, *_DEPTHWISE)
        and linear.activation is keras.activations.linear
        and getattr(linear, "data_format", "channels_last") == "channels_last"
        and not getattr(linear, "lora_enabled", False)
        and not getattr(linear, "quantization_mode", None)
        and norm.axis in (-1, rank - 1)
        and linear.dtype_policy.name == norm.dtype_policy.name == "float32"
    )


def scale_and_shift(gamma, beta, mean, variance, epsilon: float) -> tuple[np.ndarray, np.ndarray]:
    """Gives what a BatchNorm multiplies each channel by, and then adds, in float64."""
    scale = np.float64(gamma) / np.sqrt(np.float64(variance) + epsilon)
    return scale, np.float64(beta) - np.float64(mean) * scale


def scaled(kernel, scale: np.ndarray, is_depthwise: bool) -> np.ndarray:
    """Gives the kernel of a linear layer whose channels come out multiplied by the scale, float32."""
    # The channels that a depthwise kernel gives are its last two axes together.
    factors = scale.reshape(kernel.shape[-2:]) if is_depthwise else scale
    return np.float32(np.float64(kernel) * factors)


def _fold_pair(linear: keras.layers.Layer, norm: keras.layers.BatchNormalization, folding: Folding) -> None:
    gamma = _value(norm.gamma) if norm.scale else 1
    beta = _value(norm.beta) if norm.center else 0
    scale, shift = scale_and_shift(gamma, beta, _value(norm.moving_mean), _value(norm.moving_variance), norm.epsilon)
    folding.shifts[id(norm)] = np.float32(shift)
    kernel = linear.pointwise_kernel if type(linear) in _POINTWISE else linear.kernel
    folding.weights[id(kernel)] = scaled(_value(kernel), scale, type(linear) in _DEPTHWISE)
    if linear.use_bias:
        folding.weights[id(linear.bias)] = np.float32(_value(linear.bias) * scale)


def _value(variable: keras.Variable) -> np.ndarray:
    return variable.numpy().astype("float64")
