import json

import pytest
from helpers import CLASSES, make_tiny_model

from tlkeras.export import batching
from tlkeras.export.serving import Serving


def fitted(*milliseconds: float) -> batching.Batching:
    return batching.fit({2**i: value / 1000 for i, value in enumerate(milliseconds)})


@pytest.mark.parametrize(
    ("milliseconds", "rows"),
    [
        ((10, 12, 16, 24, 40, 72), 32),
        ((10, 20, 40, 80, 160, 320), 1),
        ((10, 15, 25, 50, 100, 200), 4),
        ((100, 120, 160, 240, 400, 720), 8),
        ((10, 21, 20, 40, 80, 160), 4),
        ((600, 610, 620, 630, 640, 650), 1),
    ],
)
def test_the_largest_batch_that_is_worth_it_and_in_time(milliseconds, rows):
    assert fitted(*milliseconds).rows == rows


def test_a_request_waits_half_as_long_as_one_takes_and_not_where_none_joins_it():
    assert fitted(10, 12, 16, 24, 40, 72).timeout_micros == 5000
    assert fitted(10, 20, 40, 80, 160, 320).timeout_micros == 0


@pytest.mark.parametrize("milliseconds", [(10, 12, 16, 24, 40, 72), (600, 610), (0.1, 0.11)])
def test_the_largest_request_has_its_place_in_the_queue(milliseconds):
    made = fitted(*milliseconds)
    assert made.enqueued * made.rows >= batching.LARGEST_REQUEST


def test_each_size_is_measured(photos, tmp_path):
    Serving(make_tiny_model()).save(tmp_path)
    about = {"task": "image", "classes": CLASSES, "image_size": [32, 32], "needs": [], "card": {}, "metrics": {}}
    about |= {"serving": {"top_k": 5, "max_pixels": 1000, "temperature": 1.0, "unknown": None}, "data": {}}
    about |= {"versions": dict.fromkeys(("tlkeras", "keras", "tensorflow"), "1"), "created": "2026-11-29"}
    (tmp_path / "assets.extra").mkdir()
    (tmp_path / "assets.extra" / "model.json").write_text(json.dumps(about))
    found = batching.measure(tmp_path, photos[0])
    assert list(found) == [1, 2, 4, 8, 16, 32] and min(found.values()) > 0
