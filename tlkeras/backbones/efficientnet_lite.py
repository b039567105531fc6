"""EfficientNet-Lite as a Keras functional model, and its layers' weights out of the PyTorch files that carry them.

Tan and Le, "EfficientNet", 2019; the Lite changes are those of `tensorflow/tpu/models/official/efficientnet/lite`: no
squeeze-and-excitation, ReLU6, stem and top not scaled. Drop-connect is left out: nothing in a backbone is random.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import keras
import numpy as np

from tlkeras.errors import unknown_name
from tlkeras.zoo import Card

# Width and depth against Lite0, by the parameters on the card: its name may be of the user's own making.
_SCALES = {
    3_413_024: (1.0, 1.0),
    4_189_344: (1.0, 1.1),
    4_869_168: (1.1, 1.2),
}
# Repeats, kernel, stride of the first block, expansion, channels out; a row a stage, for Lite0.
_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_STEM_CHANNELS = 32


class _Block(NamedTuple):
    name: str
    kernel: int
    stride: int
    expansion: int
    channels: int


def build(x, card: Card):
    """Applies the network to normalised images `(batch, height, width, 3)`.

    Returns:
        The feature map `(batch, height / 32, width / 32, card.features)`, each side rounded up.
    """
    x = _conv(_STEM_CHANNELS, 3, 2, "stem")(x)
    x = _relu("stem")(_norm("stem")(x))
    for block in _blocks(card):
        x = _inverted_residual(x, block)
    x = _conv(card.features, 1, 1, "top")(x)
    return _relu("top")(_norm("top")(x))


def _inverted_residual(x, block: _Block):
    channels_in, shortcut = x.shape[-1], x
    if block.expansion != 1:
        name = f"{block.name}_expand"
        x = _conv(channels_in * block.expansion, 1, 1, name)(x)
        x = _relu(name)(_norm(name)(x))
    name = f"{block.name}_depthwise"
    x = keras.layers.DepthwiseConv2D(
        block.kernel,
        block.stride,
        padding="same",
        use_bias=False,
        depthwise_initializer="he_normal",
        name=f"{name}_conv",
    )(x)
    x = _relu(name)(_norm(name)(x))
    name = f"{block.name}_project"
    x = _norm(name)(_conv(block.channels, 1, 1, name)(x))
    if block.stride == 1 and channels_in == block.channels:
        x = keras.layers.Add(name=f"{block.name}_add")([x, shortcut])
    return x


def _conv(channels: int, kernel: int, stride: int, name: str) -> keras.layers.Layer:
    return keras.layers.Conv2D(
        channels, kernel, stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=f"{name}_conv"
    )


def _norm(name: str) -> keras.layers.Layer:
    return keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.99, name=f"{name}_bn")


def _relu(name: str) -> keras.layers.Layer:
    return keras.layers.ReLU(max_value=6.0, name=f"{name}_relu")


def _blocks(card: Card) -> Iterator[_Block]:
    if card.parameters not in _SCALES:
        raise unknown_name(f"'parameters' of an EfficientNet-Lite, card {card.name!r}", card.parameters, _SCALES)
    width, depth = _SCALES[card.parameters]
    for stage, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES, start=1):
        if stage not in (1, len(_STAGES)):
            repeats = math.ceil(depth * repeats)
        for repeat in range(1, repeats + 1):
            first = repeat == 1
            yield _Block(
                f"stage{stage}_block{repeat}",
                kernel,
                stride if first else 1,
                expansion,
                _round_channels(channels * width),
            )


def _round_channels(channels: float, divisor: int = 8) -> int:
    """Rounds to the nearest multiple, upwards where that would lose more than a tenth."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def weights_from_torch(tensors: Mapping[str, np.ndarray], card: Card) -> dict[str, list[np.ndarray]]:
    """Renames and transposes a PyTorch state dict.

    Args:
        tensors: Tensors under the names of `efficientnet_lite_pytorch`, as `tlkeras.pth.read_pth` returns them.
        card: Which of the networks it is.

    Returns:
        For each layer name the arrays in the order of `layer.weights`, as far as they are there. The classifier is left
        out.
    """
    parts = [("stem", "_conv_stem", "_bn0"), ("top", "_conv_head", "_bn1")]
    for index, block in enumerate(_blocks(card)):
        if block.expansion != 1:
            parts.append((f"{block.name}_expand", f"_blocks.{index}._expand_conv", f"_blocks.{index}._bn0"))
        parts.append((f"{block.name}_depthwise", f"_blocks.{index}._depthwise_conv", f"_blocks.{index}._bn1"))
        parts.append((f"{block.name}_project", f"_blocks.{index}._project_conv", f"_blocks.{index}._bn2"))
    weights = {}
    for name, conv, norm in parts:
        # PyTorch: (out, in, h, w); Keras: (h, w, in, out), and (h, w, in, 1) for a depthwise kernel.
        axes = (2, 3, 0, 1) if name.endswith("_depthwise") else (2, 3, 1, 0)
        kernels = [tensors[key] for key in [f"{conv}.weight"] if key in tensors]
        weights[f"{name}_conv"] = [kernel.transpose(axes) if kernel.ndim == 4 else kernel for kernel in kernels]
        keys = [f"{norm}.{weight}" for weight in ("weight", "bias", "running_mean", "running_var")]
        weights[f"{name}_bn"] = [tensors[key] for key in keys if key in tensors]
    return weights
