"""Transfer learning on Keras 3: a pretrained backbone and your labelled data in, a model that is proven to serve out.

The names below are loaded when they are first used, so that importing tlkeras costs nothing and loads no TensorFlow.
"""

import importlib
import os
import sys

import wrapt

__version__ = "0.1.0"

_HOMES = {
    "build": "tlkeras.builder",
    "train": "tlkeras.run",
    "Run": "tlkeras.run",
    "RunSpec": "tlkeras.spec",
    "TlkerasError": "tlkeras.errors",
    "Card": "tlkeras.zoo",
}
_ROOMS = {"data", "zoo", "trainable", "export"}

__all__ = sorted({*_HOMES, *_ROOMS, "__version__"})


def _require_tensorflow_backend() -> None:
    chosen = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if "keras" in sys.modules and hasattr(sys.modules["keras"], "backend"):
        chosen = sys.modules["keras"].backend.backend()
    if chosen != "tensorflow":
        raise ImportError(
            f"tlkeras runs on Keras' TensorFlow backend only: set KERAS_BACKEND=tensorflow before keras is imported. "
            f"Received: {chosen!r}"
        )


def _register_layers(keras) -> None:
    """Makes `keras.saving.load_model` know our layers, whichever of keras and tlkeras is imported first."""
    for module in ("tlkeras.backbones.preprocess", "tlkeras.heads"):
        importlib.import_module(module)


_require_tensorflow_backend()
wrapt.register_post_import_hook(_register_layers, "keras")


def __getattr__(name: str):
    if name in _ROOMS:
        return importlib.import_module(f"tlkeras.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tlkeras' has no attribute {name!r}")


def __dir__():
    return __all__
