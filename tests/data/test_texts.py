"""Texts are checked, split and restored as images are."""

import os

import pytest

from tlkeras import data, text_files
from tlkeras.data import pipeline, texts
from tlkeras.data.dataset import Example
from tlkeras.errors import TlkerasError


@pytest.fixture
def reviews(tmp_path):
    file = tmp_path / "reviews.tsv"
    file.write_text("".join(f"{'good' if i % 2 else 'bad'} film {i}\t{i % 2}\n" for i in range(40)))
    return file


COLUMNS = {"text_column": "1", "label_column": "2"}


@pytest.fixture
def loaded(reviews):
    return data.load(f"tsv:{reviews}", "text", **COLUMNS)


def test_a_table_is_split_and_restored(loaded, tmp_path):
    assert loaded.summary() == "40 texts, 2 classes: 28 train, 6 val, 6 test"
    assert loaded.parts["train"][0].text.endswith("film 0")
    loaded.write(tmp_path)
    assert "reviews.tsv:1,0,train," in (tmp_path / "split.csv").read_text()
    assert data.reload(tmp_path, loaded.settings, task="text") == loaded


def test_a_changed_row_is_seen_where_it_matters(loaded, reviews, tmp_path):
    loaded.write(tmp_path)
    row = loaded.parts["train"][0]
    reviews.write_text(reviews.read_text().replace(f"{row.text}\t", f"{row.text}!\t"))
    with pytest.raises(TlkerasError, match=f"1 of 40 texts of the recorded split .*{row.name}"):
        data.reload(tmp_path, loaded.settings, task="text")
    restored = data.reload(tmp_path, loaded.settings, ("test",), "text")
    assert restored.parts["test"] == loaded.parts["test"]


def test_a_folder_of_files(tmp_path):
    for number in range(8):
        file = tmp_path / "in" / "ab"[number % 2] / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"text {number}")
    (tmp_path / "in" / "a" / "photo.jpg").touch()
    loaded = data.load(tmp_path / "in", "text")
    assert loaded.summary() == "8 texts, 2 classes: 4 train, 2 val, 2 test; 1 text left out"
    loaded.write(tmp_path)
    assert data.reload(tmp_path, loaded.settings, task="text").parts == loaded.parts


def test_a_folder_without_texts(make_images):
    with pytest.raises(TlkerasError, match=r"has no \.txt files"):
        data.load(make_images({"a": 3, "b": 3}), "text")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty: no text"),
        (b" \n\t", "empty: no text"),
        ("é".encode("latin-1"), "no UTF-8 text: byte 0xe9 at 0"),
        (b"a\0b", "no text: it has a NUL byte"),
        (b"x" * (text_files.MAX_BYTES + 1), "absurdly long: more than 4,194,304 bytes"),
        ("\ufefffine é".encode(), ""),
    ],
)
def test_reasons_are_the_same_for_files_and_rows(content, reason, tmp_path):
    (tmp_path / "a.txt").write_bytes(content)
    row = content.decode("utf-8", "surrogateescape")
    for example in (Example(tmp_path / "a.txt", "a", "x"), Example(tmp_path, "a", "x", text=row)):
        (checked, found), *_ = texts.check([example])
        assert found == reason
        assert reason or checked.text == "fine é"


def test_a_file_that_is_gone(tmp_path):
    assert texts.check([Example(tmp_path / "none.txt", "a", "x")])[0][1] == "cannot be read: No such file or directory"


def test_a_pipe_keeps_nobody_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    assert texts.check([Example(tmp_path / "pipe.txt", "a", "x")])[0][1] == "cannot be read: not a regular file"


def test_the_same_text_is_kept_once_and_never_with_two_labels(reviews):
    reviews.write_text(reviews.read_text() + "bad film 0\t0\ngood film 1\t0\n")
    excluded = {e.name: e.reason for e in data.load(f"tsv:{reviews}", "text", **COLUMNS).excluded}
    assert excluded == {
        "reviews.tsv:41": "the same text as reviews.tsv:1",
        "reviews.tsv:2": "the same text is labelled 0 and 1",
        "reviews.tsv:42": "the same text is labelled 0 and 1",
    }


def epochs(loaded, begin, end):
    sets = pipeline.training_set(loaded.parts["train"], loaded.classes, None, 8, seed=3, epoch_range=(begin, end))
    return [(texts.tolist(), labels.tolist()) for texts, labels in sets.as_numpy_iterator()]


def test_an_epoch_depends_on_its_number_alone(loaded):
    whole = epochs(loaded, 0, 3)
    steps = len(whole) // 3
    assert epochs(loaded, 2, 3) == whole[2 * steps :]
    assert whole[:steps] != whole[steps : 2 * steps]
    seen = [text for texts, _ in whole[:steps] for text in texts]
    assert sorted(seen) == sorted(example.text.encode() for example in loaded.parts["train"])


def test_evaluation_keeps_the_order(loaded):
    batches = pipeline.evaluation_set(loaded.parts["test"], loaded.classes, None, 4).as_numpy_iterator()
    found = [(text.decode(), label) for texts, labels in batches for text, label in zip(texts, labels, strict=True)]
    assert found == [(e.text, loaded.classes.index(e.label)) for e in loaded.parts["test"]]


def test_unknown_task(reviews):
    with pytest.raises(TlkerasError, match="Did you mean 'text'"):
        data.load(f"tsv:{reviews}", "texts")
