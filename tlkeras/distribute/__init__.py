"""Training on many devices and many machines with tf.distribute; loaded when first used."""

import importlib

_HOMES = {
    "Worker": "tlkeras.distribute.devices",
    "describe": "tlkeras.distribute.devices",
    "enable": "tlkeras.distribute.keras_trainer",
    "precision_for": "tlkeras.distribute.devices",
    "strategy": "tlkeras.distribute.devices",
    "worker": "tlkeras.distribute.devices",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'tlkeras.distribute' has no attribute {name!r}")


def __dir__():
    return __all__
