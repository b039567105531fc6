"""From a source to three parts, what was left out, and back from the record of it."""

import csv
import os
import shutil

import pytest

from tlkeras import data
from tlkeras.data import Data
from tlkeras.errors import TlkerasError


def reasons(loaded: Data) -> dict[str, str]:
    return {excluded.name: excluded.reason for excluded in loaded.excluded}


def names(loaded: Data) -> dict[str, list[str]]:
    return {part: [example.name for example in examples] for part, examples in loaded.parts.items()}


def test_load(make_images):
    loaded = data.load(str(make_images({"b": 10, "a": 20})))
    assert loaded.classes == ["a", "b"]
    assert loaded.counts() == {"a": {"train": 14, "val": 3, "test": 3}, "b": {"train": 6, "val": 2, "test": 2}}
    assert loaded.summary() == "30 images, 2 classes: 20 train, 5 val, 5 test"
    assert loaded.excluded == loaded.warnings == []
    assert all(len(example.sha256) == 64 for part in loaded.parts.values() for example in part)


def test_same_seed_same_split(make_images, tmp_path):
    root = str(make_images({"a": 20, "b": 20}))
    assert names(data.load(root)) == names(data.load(root)) != names(data.load(root, seed=1))
    moved = shutil.copytree(root, tmp_path / "elsewhere")
    assert names(data.load(str(moved))) == names(data.load(root))


def test_ten_damaged_files_in_ten_ways(make_images, picture, encoded):
    folder = make_images({"a": 12, "b": 4}) / "a"
    files = sorted(folder.iterdir())
    good = files[0].read_bytes()
    damaged = {
        "zero.jpg": b"",
        "cut.jpg": encoded(picture())[:300],
        "text.png": b"not a picture",
        "page.png": b"%PDF-1.4 and so on",
        "photo.heic": b"\x00\x00\x00\x18ftypheic0000",
        "scan.tif": encoded(picture(), "TIFF"),
        "wide.png": encoded(picture(0, 3000, 2), "PNG"),
        "copy.png": good,
        ".hidden.png": good,
    }
    for name, content in damaged.items():
        (folder / name).write_bytes(content)
    (folder / "link.png").symlink_to("nowhere.png")
    (folder / "png named.jpg").write_bytes(encoded(picture(99), "PNG"))
    loaded = data.load(str(folder.parent))
    assert set(reasons(loaded)) == {f"a/{name}" for name in [*damaged, "link.png"]}
    assert loaded.summary() == "17 images, 2 classes: 11 train, 3 val, 3 test; 10 files left out"
    assert reasons(loaded)["a/copy.png"] == "the same picture as a/000.png"
    assert reasons(loaded)["a/link.png"] == "a broken link"


def test_picture_of_the_test_part_is_not_trained_on(make_images):
    root = make_images({"train/a": 10, "train/b": 10, "test/a": 2, "test/b": 2})
    shutil.copy(root / "test" / "a" / "000.png", root / "train" / "a" / "leak.png")
    loaded = data.load(str(root))
    assert reasons(loaded) == {"train/a/leak.png": "the same picture as test/a/000.png"}
    assert all(name.startswith("test/") for name in names(loaded)["test"])
    assert {part: len(found) for part, found in names(loaded).items()} == {"train": 16, "val": 4, "test": 4}


def test_class_with_too_few_images_is_left_out(make_images):
    loaded = data.load(str(make_images({"a": 5, "b": 5, "rare": 2})))
    assert loaded.classes == ["a", "b"]
    assert loaded.warnings == ["class 'rare' has 2 usable images to divide; 3 or more are needed; it is left out"]
    assert set(reasons(loaded)) == {"rare/000.png", "rare/001.png"}


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({"a": 5}, "has one class only, 'a'"),
        ({"a": 5, "b": 2}, "has 1 usable classes of 2; two are needed; 2 files were left out, the first: class 'b'"),
        ({"a": 1, "b": 1, "c": 1}, "has 3 classes for 3 images"),
    ],
)
def test_too_little(counts, message, make_images):
    with pytest.raises(TlkerasError, match=message):
        data.load(str(make_images(counts)))


def test_part_without_a_usable_image(make_images):
    root = make_images({"train/a": 5, "train/b": 5, "test/a": 1})
    (root / "test" / "a" / "000.png").write_bytes(b"")
    with pytest.raises(
        TlkerasError, match=r"part test of .* has no usable image; 1 files were left out, the first: empty"
    ):
        data.load(str(root))


@pytest.fixture
def run(make_images, tmp_path):
    """Data with odd names, and the folder that records their split."""
    root = make_images({"a": 6, "b": 6})
    for number, odd in enumerate(["new\nline", "return\r", os.fsdecode(b"\xff")]):
        (root / "a" / f"00{number}.png").rename(root / "a" / f"{odd}.png")
    (root / "b" / "bad.png").write_bytes(b"")
    loaded = data.load(str(root), seed=3)
    folder = tmp_path / "run"
    folder.mkdir()
    loaded.write(folder)
    return loaded, folder


def test_record_is_a_plain_table(run):
    loaded, folder = run
    with (folder / "split.csv").open(newline="", errors="surrogateescape") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["path", "label", "part", "sha256"]
    assert [row["path"] for row in rows if row["part"] == "test"] == names(loaded)["test"]
    assert (folder / "excluded.csv").read_text() == "path,reason\nb/bad.png,empty: zero bytes\n"


def test_record_restores_the_split_exactly(run, own_cache):
    loaded, folder = run
    again = data.reload(folder, loaded.settings)
    assert (again.parts, again.classes, again.excluded) == (loaded.parts, loaded.classes, loaded.excluded)
    shutil.rmtree(own_cache / "checks")
    assert data.reload(folder, loaded.settings).parts == loaded.parts


def test_record_holds_when_the_data_grow(run, make_images):
    loaded, folder = run
    make_images({"a": 20, "empty": 0}, loaded.root)
    shutil.copy(loaded.root / "b" / "000.png", loaded.root / "b" / "new.png")
    with pytest.raises(TlkerasError, match="is empty"):
        data.load(str(loaded.root))
    assert names(data.reload(folder, loaded.settings)) == names(loaded)


def test_missing_and_changed_files_are_named(run):
    loaded, folder = run
    (loaded.root / "b" / "003.png").unlink()
    shutil.copy(loaded.root / "b" / "005.png", loaded.root / "b" / "004.png")
    with pytest.raises(
        TlkerasError, match=r"2 of 12 files of the recorded split are missing or have changed.*004.png"
    ) as e:
        data.reload(folder, loaded.settings)
    assert "b/003.png" in str(e.value)


def test_folder_without_a_record(tmp_path, make_images):
    loaded = data.load(str(make_images({"a": 5, "b": 5})))
    with pytest.raises(TlkerasError, match=r"has no split.csv"):
        data.reload(tmp_path, loaded.settings)


def test_csv_source_restores(make_images, tmp_path):
    root = make_images({"a": 5, "b": 5})
    rows = [f"{file},{file.parent.name}" for file in sorted(root.rglob("*.png"))[:5]]
    rows += [f"{file.relative_to(root)},{file.parent.name}" for file in sorted(root.rglob("*.png"))[5:]]
    (root / "table.csv").write_text("\n".join(["path,label", *rows]))
    loaded = data.load(f"csv:{root}/table.csv")
    loaded.write(tmp_path)
    assert data.reload(tmp_path, loaded.settings).parts == loaded.parts


def test_data_that_are_only_judged(make_images):
    root = make_images({"a": 2, "b": 1})
    (root / "a" / "bad.png").touch()
    examples, excluded = data.load_all(str(root))
    assert len(examples) == 3 and [gone.name for gone in excluded] == ["a/bad.png"]
    assert {e.part for e in data.load_all(str(make_images({"train/a": 2, "test/a": 1}, root / "x")))[0]} == {"test"}


def test_data_without_a_train_part_can_only_be_judged(make_images):
    root = make_images({"test/a": 2, "test/b": 1})
    assert len(data.load_all(root)[0]) == 3
    with pytest.raises(TlkerasError, match="has a part test but no part train"):
        data.load(root)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,x,test\n", "has a part test but no part train"),
        ("a.png,x,train\nb.png,y,val\n", "part val of .* has classes that train has not: y"),
    ],
)
def test_parts_that_do_not_fit_each_other(tmp_path, rows, message):
    (tmp_path / "table.csv").write_text(f"path,label,part\n{rows}")
    with pytest.raises(TlkerasError, match=message):
        data.load(f"csv:{tmp_path}/table.csv")


def test_classes_that_only_the_test_part_has_are_refused(make_images):
    with pytest.raises(TlkerasError, match=r"part test of .* has classes that train has not: zebra"):
        data.load(make_images({"train/a": 1, "test/a": 1, "test/zebra": 1}))


def test_a_given_part_is_never_replaced_by_a_cut(make_images):
    root = make_images({"train/a": 4, "train/b": 4, "train/c": 1, "val/c": 1})
    (root / "train" / "c" / "000.png").write_bytes(b"")
    with pytest.raises(TlkerasError, match=r"the part val of .* has no usable image"):
        data.load(root)


def test_a_link_to_itself_is_left_out(make_images):
    root = make_images({"a": 5, "b": 5})
    (root / "a" / "loop.png").symlink_to("loop.png")
    assert reasons(data.load(root)) == {"a/loop.png": "a broken link"}


def test_a_column_part_may_hold_the_classes(make_images, tmp_path):
    files = sorted(make_images({"arm": 4, "leg": 4}).rglob("*.png"))
    rows = "".join(f"{file},{file.parent.name}\n" for file in files)
    (tmp_path / "table.csv").write_text(f"path,part\n{rows}")
    assert data.load(f"csv:{tmp_path}/table.csv", label_column="part").classes == ["arm", "leg"]


def test_wrong_types_are_named(make_images):
    with pytest.raises(TlkerasError, match="seed: legal is a value of type int"):
        data.load(make_images({"a": 3, "b": 3}), seed="x")
