"""Transfer learning on Keras 3: a pretrained backbone and your labelled data in, a model that is proven to serve out.

The names below are loaded when they are first used, so that importing tlkeras costs nothing and loads no TensorFlow.
"""

import importlib
import os
import sys

__version__ = "0.1.0"

_HOMES = {
    "build": "tlkeras.builder",
    "train": "tlkeras.run",
    "Run": "tlkeras.run",
    "RunSpec": "tlkeras.spec",
    "TlkerasError": "tlkeras.errors",
    "Card": "tlkeras.zoo",
}
_ROOMS = {"data", "distribute", "zoo", "trainable", "export"}

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


class _AfterKeras:
    """Registers our layers as soon as keras is imported, so that `keras.saving.load_model` knows them.

    An import hook, since importing keras from here would cost every start-up the seconds that TensorFlow takes.
    """

    modules = (
        "tlkeras.backbones.preprocess",
        "tlkeras.backbones.text",
        "tlkeras.backbones.wordpieces",
        "tlkeras.backbones.hub_module",
        "tlkeras.backbones.minilm",
        "tlkeras.heads",
    )

    def find_spec(self, name, path=None, target=None):
        if name != "keras":
            return None
        others = (finder.find_spec(name, path, target) for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, others), None)
        # Being asked for is not being imported: TensorFlow only looks whether keras is there.
        if spec is not None:
            execute = spec.loader.exec_module
            spec.loader.exec_module = lambda module: (execute(module), self.register())
        return spec

    def register(self) -> None:
        for module in self.modules:
            importlib.import_module(module)


_require_tensorflow_backend()
if "keras" in sys.modules:
    _AfterKeras().register()
else:
    sys.meta_path.insert(0, _AfterKeras())


def __getattr__(name: str):
    if name in _ROOMS:
        return importlib.import_module(f"tlkeras.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tlkeras' has no attribute {name!r}")


def __dir__():
    return __all__
