import json
import os
import shutil
import zlib

import numpy as np
import pytest
from helpers import CLASSES

from tlkeras.data.check import reason_against
from tlkeras.errors import TlkerasError
from tlkeras.export import savedmodel
from tlkeras.predict import predict


@pytest.fixture(scope="module")
def run(tiny_model, photos, tmp_path_factory):
    """A folder with what `predict` takes of a run."""
    folder = tmp_path_factory.mktemp("run")
    tiny_model.save(folder / "model.keras")
    savedmodel.export(tiny_model, folder / "export", photos, proven=False)
    return folder


TARGETS = ["", "model.keras", "export", "export/1"]


@pytest.mark.parametrize("target", TARGETS)
def test_every_target_answers_alike(run, photos, target):
    expected = list(predict(run / "model.keras", photos, top_k=9))
    found = list(predict(run / target, photos, top_k=9, batch_size=3))
    assert [p.file for p in found] == photos
    assert [p.classes for p in found] == [p.classes for p in expected]
    np.testing.assert_allclose([p.scores for p in found], [p.scores for p in expected], atol=1e-6)
    assert all(sorted(p.classes) == CLASSES and p.scores == sorted(p.scores, reverse=True) for p in found)


@pytest.mark.parametrize("target", ["model.keras", "export"])
@pytest.mark.parametrize("batch_size", [1, 4, 32])
def test_a_bad_file_does_not_disturb_its_neighbours(run, photos, tmp_path, target, batch_size):
    bad = {"empty.jpg": b"", "text.png": b"hello", "short.jpg": photos[0].read_bytes()[:30]}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    os.mkfifo(tmp_path / "pipe.png")
    good = list(predict(run / target, photos, top_k=2))
    empty, text, short, pipe = (tmp_path / name for name in [*bad, "pipe.png"])
    mixed = list(
        predict(run / target, [empty, *photos[:3], text, pipe, *photos[3:], short], top_k=2, batch_size=batch_size)
    )
    errors = [p.error for p in mixed if p.error]
    assert all(
        word in error
        for word, error in zip(["empty", "not an image", "regular file", "truncated"], errors, strict=True)
    )
    assert [p for p in mixed if not p.error] == good


@pytest.mark.parametrize("target", ["model.keras", "export"])
@pytest.mark.parametrize("top_k", [2, 7])
def test_a_picture_that_is_too_large_is_not_decoded(run, photos, tmp_path, target, top_k):
    header = b"IHDR" + (9000).to_bytes(4) + (8000).to_bytes(4) + b"\x08\x02\0\0\0"
    bomb = b"\x89PNG\r\n\x1a\n\0\0\0\r" + header + zlib.crc32(header).to_bytes(4)
    (tmp_path / "bomb.png").write_bytes(bomb)
    large, good = predict(run / target, [tmp_path / "bomb.png", photos[0]], top_k)
    assert large.error == "9000 x 8000 pixels, more than the 64,000,000 that are decoded" and not good.error
    # What may be larger in an export has another reason.
    assert reason_against(bomb) == "truncated PNG"


def test_a_folder_stands_for_its_images(run, photos, tmp_path):
    (tmp_path / "in" / ".hidden").mkdir(parents=True)
    for name in ("B.JPG", "a.jpg", "in/c.jpg", ".d.jpg", "in/.hidden/e.jpg"):
        shutil.copy(photos[0], tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    found = [p.file.relative_to(tmp_path).as_posix() for p in predict(run, [tmp_path])]
    assert found == ["B.JPG", "a.jpg", "in/c.jpg"]


def test_a_prediction_goes_into_json(run, photos):
    plain = json.loads(json.dumps(next(predict(run, photos, top_k=1)).to_dict()))
    assert plain.keys() == {"file", "classes", "scores", "error"}
    assert plain["file"] == str(photos[0])


def test_the_newest_version_answers(run, photos, tmp_path):
    shutil.copytree(run / "export" / "1", tmp_path / "9")
    shutil.copytree(run / "export" / "1", tmp_path / "10")
    for name in ("assets.extra/model.json", "assets/labels.txt"):
        named = tmp_path / "10" / name
        named.write_text(named.read_text().replace("ant", "newest"))
    (found,) = predict(tmp_path, photos[:1], top_k=7)
    assert "newest" in found.classes


def test_mistakes_are_told_before_anything_is_read(run, photos, tmp_path):
    (tmp_path / "broken.keras").write_text("no zip")
    shutil.copytree(run / "export" / "1", tmp_path / "foreign")
    shutil.rmtree(tmp_path / "foreign" / "assets.extra")
    for target, files, message in [
        (tmp_path, photos, "neither model.keras nor saved_model.pb"),
        (tmp_path / "none", photos, "does not exist"),
        (tmp_path / "broken.keras", photos, "not a model of tlkeras, or it is damaged"),
        (tmp_path / "foreign", photos, "not an export of tlkeras, or it is damaged"),
        (run, [], "no files to predict"),
        (run, [photos[0], tmp_path / "none.jpg"], "there is no file .*none.jpg"),
        (run, [tmp_path], "no image files in"),
    ]:
        with pytest.raises(TlkerasError, match=message):
            predict(target, files)
    with pytest.raises(TlkerasError, match="1 or more"):
        predict(run, photos, top_k=0)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("assets.extra/model.json", b"[]"),
        ("assets.extra/model.json", b"[" * 100_000),
        ("assets.extra/model.json", b'{"classes": 5, "card": null}'),
        ("variables/variables.data-00000-of-00001", b"half"),
        ("variables/variables.index", b""),
        ("saved_model.pb", b"\xff"),
        ("assets/labels.txt", b"other\n"),
    ],
)
def test_an_export_that_is_damaged_is_told(run, photos, tmp_path, name, content):
    shutil.copytree(run / "export" / "1", tmp_path / "1")
    (tmp_path / "1" / name).write_bytes(content)
    with pytest.raises(TlkerasError, match=r"1 is not an export of tlkeras, or it is damaged: "):
        predict(tmp_path / "1", photos)


@pytest.mark.parametrize("top_k", [2, 7])
@pytest.mark.parametrize("batch_size", [1, 32])
def test_an_export_tells_errors_and_what_is_unknown(run, telling, photos, tmp_path, top_k, batch_size):
    bad = {"empty.jpg": b"", "text.png": b"hello", "short.jpg": photos[0].read_bytes()[:30]}
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
    asked = [tmp_path / "empty.jpg", *photos[:3], tmp_path / "text.png", *photos[3:], tmp_path / "short.jpg"]
    found = list(predict(telling, asked, top_k, batch_size))
    assert [p.error for p in found if p.error] == ["empty: zero bytes", "not an image", "truncated JPEG"]
    assert all(p.is_unknown for p in found if p.error)
    good, old = [p for p in found if not p.error], list(predict(run / "export", photos, top_k))
    assert [p.classes for p in good] == [p.classes for p in old] and {len(p.classes) for p in good} == {top_k}
    assert [p.is_unknown for p in good] == [p.scores[0] < 0.25 for p in good]
    assert {True, False} == {p.is_unknown for p in good} and {p.is_unknown for p in old} == {None}
    assert all("is_unknown" in p.to_dict() for p in found)


def test_names_come_from_a_list_too(run, photos):
    lines = [f"{photo}\n".encode() for photo in (photos[0], "none.jpg", photos[1])]
    found = list(predict(run, ["-"], lines=iter(lines)))
    assert [p.error for p in found] == [None, "cannot be read: No such file or directory", None]
    with pytest.raises(TlkerasError, match="the list on standard input is empty"):
        next(predict(run, ["-"]))
