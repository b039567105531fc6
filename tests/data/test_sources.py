"""Folders, CSV files and digits become the same list of labelled files; each mistake in them is one clear line."""

import os
from pathlib import Path

import pytest

from tlkeras.data import sources
from tlkeras.errors import TlkerasError


def found(source) -> set[tuple]:
    return {(example.name, example.label, example.part) for example in sources.find(str(source)).examples}


def reasons(source) -> dict[str, str]:
    return {excluded.name: excluded.reason for excluded in sources.find(str(source)).excluded}


def test_folder_of_class_folders(make_images):
    root = make_images({"cat": 2, "dog/big/old": 1})
    assert found(root) == {
        ("cat/000.png", "cat", None),
        ("cat/001.png", "cat", None),
        ("dog/big/old/000.png", "dog", None),
    }
    example = sources.find(str(root)).examples[0]
    assert example.path == root / example.name


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val"])
def test_folder_that_comes_split(val, make_images):
    root = make_images({"train/a": 1, "train/b": 1, f"{val}/a": 1, "test/b": 1, "test/a": 1})
    assert {(label, part) for _, label, part in found(root)} == {
        ("a", "train"),
        ("b", "train"),
        ("a", "val"),
        ("a", "test"),
        ("b", "test"),
    }


def test_train_alone_is_a_part_and_not_a_class(make_images):
    assert {part for _, _, part in found(make_images({"train/a": 1, "train/b": 1}))} == {"train"}


def test_class_may_be_called_test(make_images):
    assert {label for _, label, _ in found(make_images({"test": 1, "rest": 1}))} == {"test", "rest"}


def test_what_lies_outside_of_classes_is_listed(make_images):
    root = make_images({"train/a": 1, "train/b": 1, "test/a": 1, "unsorted": 1, "train/.git": 1})
    (root / "README.txt").touch()
    (root / "train" / "a" / ".hidden.png").touch()
    (root / "train" / "stray.png").touch()
    assert reasons(root) == {
        "README.txt": "in no class folder",
        "train/stray.png": "in no class folder",
        "train/.git": "hidden folder",
        "train/a/.hidden.png": "hidden file",
        "unsorted": "in none of train, test",
    }


def test_links_are_followed_but_not_in_circles(make_images, tmp_path):
    root = make_images({"a": 1, "b": 1})
    (make_images({"c": 1}, tmp_path / "elsewhere") / "c").rename(tmp_path / "c")
    (root / "c").symlink_to(tmp_path / "c")
    (root / "a" / "again").symlink_to(root / "a")
    assert {label for _, label, _ in found(root)} == {"a", "b", "c"}
    assert reasons(root) == {"a/again": "a link to a folder that it lies in"}


def test_odd_names(make_images):
    root = make_images({"a": 1, "b": 1})
    odd = [
        "sp ace.png",
        "#1 100% ü.png",
        "line\nbreak.png",
        "return\r.png",
        'quo"te,.png',
        os.fsdecode(b"\xff\xfe.png"),
    ]
    for name in odd:
        (root / "a" / name).touch()
    assert {f"a/{name}" for name in odd} < {name for name, _, _ in found(root)}


def test_class_names_are_composed_in_one_way(make_images):
    root = make_images({"train/caf\u00e9": 1, "train/b": 1, "test/cafe\u0301": 1})
    assert {label for _, label, _ in found(root)} == {"caf\u00e9", "b"}


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        ({}, "has no class folders .it is empty"),
        ({"a": 1, "b": 0}, r"class folder .*b is empty: put images"),
        ({"train": 3, "test/a": 1}, "train has no class folders .files lie in it directly"),
        ({"train/a": 1, "val/a": 1, "valid/a": 1}, "two folders for the part val, val and valid"),
        ({"a": 1, "line\nbreak": 1}, "a class name is text of one line"),
        ({"a": 1, os.fsdecode(b"\xff"): 1}, "a class name is text of one line in UTF-8"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_mistakes_in_a_folder(folders, message, make_images):
    root = make_images(folders)
    root.mkdir(exist_ok=True)
    with pytest.raises(TlkerasError, match=message):
        sources.find(str(root))


def test_missing_folder_has_a_hint(make_images, tmp_path):
    root = make_images({"a": 1})
    for wrong, message in [
        (root.with_name("imagse"), r"does not exist. Did you mean .*images\?"),
        (tmp_path / "zzz", f"does not exist; {tmp_path} does"),
        (tmp_path / "digit", "Did you mean 'digits'"),
        (root / "a" / "000.png", "is a file, not a folder"),
    ]:
        with pytest.raises(TlkerasError, match=message):
            sources.find(str(wrong))


def test_unknown_kind_of_source():
    with pytest.raises(TlkerasError, match=r"unknown kind of data source. Did you mean 'csv'.*Received: 'cvs'"):
        sources.find("cvs:table.csv")


def csv_file(folder: Path, text: str, encoding="utf-8") -> str:
    (folder / "table.csv").write_text(text, encoding, errors="surrogateescape")
    return f"csv:{folder / 'table.csv'}"


def test_csv(tmp_path):
    text = f'path,label,part\na.png, cat ,train\n"odd, ""name"".png",dog,test\n{tmp_path}/b.png,dog,\n'
    source = csv_file(tmp_path, text, "utf-8-sig")
    assert found(source) == {
        ("a.png", "cat", "train"),
        ('odd, "name".png', "dog", "test"),
        (f"{tmp_path}/b.png", "dog", None),
    }
    assert {example.path for example in sources.find(source).examples} == {
        tmp_path / "a.png",
        tmp_path / 'odd, "name".png',
        tmp_path / "b.png",
    }


def test_csv_with_other_columns_and_odd_names(tmp_path):
    source = csv_file(tmp_path, "id,file,kind\n1,\udcff.png,a\n2,~x.png,b\n")
    examples = sources.find(source, path_column="file", label_column="kind").examples
    assert [os.fsencode(example.path.name) for example in examples] == [b"\xff.png", b"~x.png"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'path' and no column 'label'.*the file is empty"),
        ("file,label\n", "no column 'path'; name them with --path-column .* Its columns: 'file', 'label'"),
        ("path;label\na;b\n", "separates its columns by ';'"),
        ("path,label\n", "has no rows"),
        ("path,label\na.png,x\n,x\n", "line 3: a row needs a path and a label"),
        ("path,label\na.png\n", "line 2: a row needs a path and a label. Received: 'a.png', ''"),
        (
            "path,label,part\na.png,x,tset\n",
            "line 2: the column part takes train, val, test or nothing. Received: 'tset'",
        ),
        ('path,label\na.png,"x\ny"\n', "a class name is text of one line"),
    ],
)
def test_mistakes_in_a_csv(text, message, tmp_path):
    with pytest.raises(TlkerasError, match=message):
        sources.find(csv_file(tmp_path, text))


def test_missing_csv(tmp_path):
    with pytest.raises(TlkerasError, match="does not exist"):
        sources.find(f"csv:{tmp_path}/none.csv")


def test_digits_are_written_once(own_cache):
    examples = sources.find("digits").examples
    assert len(examples) == 1797 and len({example.label for example in examples}) == 10
    times = {example.path.stat().st_mtime_ns for example in examples}
    assert {example.path.stat().st_mtime_ns for example in sources.find("digits").examples} == times
    assert [path.name for path in (own_cache / "data").iterdir()] == ["digits"]


def test_cache_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path / "file"))
    with pytest.raises(TlkerasError, match=r"digits cannot be kept in .*: set TLKERAS_HOME"):
        sources.find("digits")


def test_absolute_sources_mean_the_same_from_anywhere(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert sources.absolute("photos") == str(tmp_path / "photos")
    assert sources.absolute("csv:a.csv") == f"csv:{tmp_path}/a.csv"
    assert sources.absolute("tfds:mnist") == "tfds:mnist"
    assert sources.absolute("digits") == "digits"


def test_root_is_known_without_a_search(make_images, tmp_path):
    root = make_images({"a": 1, "b": 1})
    assert sources.root(str(root)) == root
    assert sources.root(csv_file(tmp_path, "path,label\n")) == tmp_path
    assert sources.root("digits") == sources.find("digits").root
