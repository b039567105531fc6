"""Shared by all tests: a cache of their own, a small model, a few image files, and the real data where it is."""

import functools
import os
from collections.abc import Callable
from pathlib import Path

import hub_modules
import keras
import numpy as np
import pytest
from helpers import REPOSITORY, make_tiny_model, write_photo
from PIL import Image

from tlkeras.export import savedmodel
from tlkeras.export.serving import Settings
from tlkeras.unknown import Threshold

# What gRPC does in processes that are forked off ends up among what they print.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
SHARED = Path(os.environ.get("TLKERAS_TEST_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Keeps the tests out of the user's cache and zoo, also in the processes that they start."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKERAS_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("TLKERAS_ZOO", str(tmp_path_factory.mktemp("zoo")))
        yield


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory) -> Path:
    """A folder of three classes with 12 images of 40 x 40 pixels each: noise on red, green or blue."""
    root = tmp_path_factory.mktemp("photos")
    noise = np.random.default_rng(0)
    for channel, name in enumerate(("red", "green", "blue")):
        (root / name).mkdir()
        for number in range(12):
            pixels = noise.integers(0, 100, (40, 40, 3), np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(root / name / f"{number:02}.png")
    return root


@pytest.fixture(scope="session")
def flowers() -> Path:
    folder = SHARED / "flowers12"
    if not folder.is_dir():
        pytest.skip(f"needs the photos of flowers12 in {folder}")
    return folder


@pytest.fixture(scope="session")
def sst2() -> Path:
    folder = SHARED / "sst2"
    if not folder.is_dir():
        pytest.skip(f"needs the sentences of sst2 in {folder}")
    return folder


@pytest.fixture(scope="session")
def hub_module(tmp_path_factory) -> Callable[[str], Path]:
    """Modules of TF-Hub by kind, each made once: keras2, momentum, tuple, signature, tf1, text, bert."""
    folder = tmp_path_factory.mktemp("modules")
    return functools.cache(lambda kind: hub_modules.make(kind, folder))


@pytest.fixture(scope="session")
def tiny_model() -> keras.Model:
    return make_tiny_model()


@pytest.fixture(scope="session")
def telling(tiny_model, photos, tmp_path_factory) -> Path:
    """An export that says what is unknown: a folder of one version. Of `photos` it knows some and not others."""
    settings = Settings(unknown=Threshold("max-softmax", 0.25, 0.05))
    folder = tmp_path_factory.mktemp("telling")
    savedmodel.export(tiny_model, folder, photos, settings=settings, proven=False)
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> list[Path]:
    """JPEG, PNG, BMP and GIF files of several sizes and modes."""
    folder = tmp_path_factory.mktemp("photos")
    modes = {
        "a.jpg": "RGB",
        "b.png": "RGBA",
        "c.jpeg": "L",
        "d.png": "P",
        "e.bmp": "RGB",
        "f.gif": "P",
        "g.jpg": "CMYK",
    }
    sizes = [(50, 40), (32, 32), (31, 97)]
    return [write_photo(folder / name, i, sizes[i % 3], mode) for i, (name, mode) in enumerate(modes.items())]
