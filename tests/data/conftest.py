"""Small pictures and folders of them, each test with a cache of its own."""

import io

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("TLKERAS_HOME", str(folder))
    return folder


def _picture(seed: int = 0, width: int = 40, height: int = 30) -> Image.Image:
    """A smooth picture, another one for each seed: noise would measure the JPEG coder and nothing else."""
    small = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.BICUBIC)


def _encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def picture():
    return _picture


@pytest.fixture
def encoded():
    return _encoded


@pytest.fixture
def make_images(tmp_path):
    """Writes so many different images into each folder: `make_images({"train/cat": 3})`; gives the root."""

    def make(counts: dict[str, int], root=tmp_path / "images"):
        seed = 0
        for folder, count in counts.items():
            (root / folder).mkdir(parents=True, exist_ok=True)
            for number in range(count):
                seed += 1
                (root / folder / f"{number:03}.png").write_bytes(_encoded(_picture(seed, 8, 6), "PNG"))
        return root

    return make
