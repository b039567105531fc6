"""What an engine is, what a parity check found, and the forward pass that both belong to."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

# The distribution that gives an engine's version, the modules that it takes, and what to install.
_NEEDS = {
    "openvino": ("openvino", ("openvino",), "tlkeras[openvino]"),
    "onnxruntime": ("onnxruntime", ("onnxruntime", "tf2onnx"), "tlkeras[onnx]"),
}


class Unsupported(Exception):
    """An engine cannot take a model; the message is the engine's own reason."""


@dataclass(frozen=True)
class Engine:
    """What computes a forward pass.

    Attributes:
        name: `tensorflow`, `openvino` or `onnxruntime`.
        precision: `float32` or `bfloat16`; what comes out is float32 in any case.
    """

    name: str
    precision: str = "float32"

    def __str__(self) -> str:
        return f"{self.name}, {self.precision}"


@dataclass(frozen=True)
class Parity:
    """How near a forward pass comes to Keras' own, made eagerly on the same rows.

    Attributes:
        cosine: The lowest cosine over the rows and the outputs.
        error: The largest over the outputs of `||ours - theirs|| / ||theirs||`.
    """

    cosine: float
    error: float

    def __str__(self) -> str:
        return f"cosine {self.cosine:.6f}, relative error {self.error:.1e}"


@dataclass(frozen=True)
class Forward:
    """A forward pass on an engine; called with a batch of any size, it gives one float32 array for each output.

    Attributes:
        engine: What computes it.
        parity: What the check found; None where none was made.
    """

    engine: Engine
    parity: Parity | None
    run: Callable[[np.ndarray], list[np.ndarray]]

    def __call__(self, batch: np.ndarray) -> list[np.ndarray]:
        return self.run(batch)


def installed() -> dict[str, str]:
    """Gives the engines that can be used here with their versions, TensorFlow first; imports none of them."""
    found = {"tensorflow": importlib.metadata.version("tensorflow")}
    for name, (distribution, modules, _) in _NEEDS.items():
        if all(map(importlib.util.find_spec, modules)):
            found[name] = next(_versions(distribution), "")
    return found


def what_to_install(name: str) -> str:
    """Gives the extra that brings an engine.

    >>> what_to_install("openvino")
    'tlkeras[openvino]'
    """
    return _NEEDS[name][2]


def has_bfloat16() -> bool:
    """Says whether the processor computes in bfloat16 by itself; only Linux tells."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    return bool(re.search(r"\b(avx512_bf16|amx_bf16)\b", flags))


def _versions(distribution: str) -> Iterator[str]:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        yield importlib.metadata.version(distribution)
    # A build for other hardware has another name and the same modules: onnxruntime-gpu, openvino-nightly. To look
    # through all that is installed takes a second.
    for package in importlib.metadata.distributions():
        if (package.name or "").lower().startswith(distribution):
            yield package.version
