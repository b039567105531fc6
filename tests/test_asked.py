import itertools
import os
from pathlib import Path

import pytest

from tlkeras import asked, patterns
from tlkeras.errors import TlkerasError


@pytest.fixture
def place(tmp_path, monkeypatch):
    """The folder that names are looked up in, with files of one byte."""
    for name in (
        "b.JPG",
        "a.jpg",
        "in/c.png",
        "in/deep/d.gif",
        ".h.jpg",
        ".hid/e.jpg",
        "in/notes.txt",
        "x[1].jpg",
        "x1.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*names, **options):
    return [str(path) for path in asked.find(names, False, **options)]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".", "a.jpg b.JPG in/c.png in/deep/d.gif x1.jpg x[1].jpg"),
        ("*.jpg", "a.jpg x1.jpg x[1].jpg"),
        ("x[1].jpg", "x[1].jpg"),
        ("x[0-9].jpg", "x1.jpg"),
        ("?.*", "a.jpg b.JPG"),
        ("i*", "in/c.png in/deep/d.gif"),
        ("in/*", "in/c.png in/deep/d.gif in/notes.txt"),
        ("in/*.txt", "in/notes.txt"),
        ("**/*.g*", "in/deep/d.gif"),
        ("**/*.???", "a.jpg b.JPG in/c.png in/deep/d.gif in/notes.txt x1.jpg x[1].jpg"),
        ("in/**", "in/c.png in/deep/d.gif"),
        ("**/deep/*", "in/deep/d.gif"),
        ("*/deep/d.gif", "in/deep/d.gif"),
        (".h*/*.jpg", ".hid/e.jpg"),
    ],
)
def test_names_stand_for_files(place, name, expected):
    assert found(name) == expected.split()
    assert found(place / name) == [str(place / one) for one in expected.split()]


def test_a_list_gives_its_lines_in_place(place):
    assert found("in", "-", "a.jpg", lines=[b"no.jpg\n", b"\n", b"b.JPG\r\n", b"\xff"]) == [
        *("in/c.png", "in/deep/d.gif", "no.jpg", "b.JPG", "\udcff", "a.jpg")
    ]
    lines = [b"one\n", b"\n", b"two"]
    assert list(asked.find(["-"], True, lines, ["three"])) == ["one", "", "two", "three"]


def test_texts_without_a_letter_have_a_reason():
    (batch,) = asked.batches(asked.find(["-"], True, [b"one\n", b"\n", b" \xc2\xa0\t\n"], [""]), True, 9, 99)
    assert [found.content for found in batch] == [b"one", None, None, None]
    assert {found.reason for found in batch[1:]} == {"empty: no text"}


def test_nothing_is_listed_before_it_is_taken(place, monkeypatch):
    lines = itertools.chain([b"a.jpg\n"], iter(lambda: pytest.fail("read too far"), None))
    assert str(next(asked.find(["-"], False, lines))) == "a.jpg"
    monkeypatch.setattr(patterns, "SORTED", 2)
    many = found(".")
    assert sorted(many) == ["a.jpg", "b.JPG", "in/c.png", "in/deep/d.gif", "x1.jpg", "x[1].jpg"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.jpg", "there is no file none.jpg"),
        ("none/*.jpg", r"there is no folder none for the pattern none/\*.jpg"),
        ("a b", "there is no file a b; a text is given with --text"),
    ],
)
def test_what_is_named_must_be_there(place, name, message):
    with pytest.raises(TlkerasError, match=message):
        asked.refuse_missing([name])


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["*.webp"], {}, r"nothing matches the pattern \*.webp"),
        (["none[1].jpg/x"], {}, "nothing matches the pattern"),
        ([".hid/none*"], {}, "nothing matches"),
        ([], {}, "no files to predict: name image files, or folders"),
        (["a.jpg"], {"texts": ["hello"]}, "takes images, and a text was given"),
    ],
)
def test_what_cannot_be_asked_is_told_at_once(place, names, options, message):
    with pytest.raises(TlkerasError, match=message):
        asked.find(names, False, **options)


def test_what_cannot_be_read_has_a_reason(place):
    os.mkfifo("pipe")
    lines = ["a.jpg", "none.jpg", "in", "pipe", "x" * 5000, "nul\0"]
    (batch,) = asked.batches(asked.find(["-"], False, [os.fsencode(line) for line in lines]), False, 9, 99)
    assert [found.content for found in batch] == [b"x", None, None, None, None, None]
    words = ["No such file", "a folder: a list names files", "not a regular file", "too long", "not a path"]
    assert all(word in found.reason for word, found in zip(words, batch[1:], strict=True))


def test_batches_are_bounded_in_number_and_bytes(place):
    for name, size in {"1.jpg": 5, "2.jpg": 9, "3.jpg": 1, "4.jpg": 1, "5.jpg": 1}.items():
        (place / name).write_bytes(b"x" * size)
    files = asked.find([f"{n}.jpg" for n in range(1, 6)], False)
    sizes = [[len(found.content) for found in batch] for batch in asked.batches(files, False, 2, 6)]
    assert sizes == [[5], [9], [1, 1], [1]]


@pytest.fixture
def closed(place):
    """The folder `in`, closed to a user whom permissions bind: root is somebody else for the while."""
    place.chmod(0o755)
    (place / "in").chmod(0)
    if is_root := os.geteuid() == 0:
        os.seteuid(65534)
    yield
    if is_root:
        os.seteuid(0)
    (place / "in").chmod(0o755)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("in", "in"),
        (".", "a.jpg b.JPG in x1.jpg x[1].jpg"),
        ("*/*.png", "in"),
        ("*/deep/*", "in"),
        ("**/*.jpg", "a.jpg in x1.jpg x[1].jpg"),
        ("**/deep/*", "in"),
        ("i*", "in"),
    ],
)
def test_a_folder_that_may_not_be_read_is_told(closed, name, expected):
    assert found(name) == expected.split()
    assert asked.read(Path("in"), False).reason == "cannot be read: Permission denied"


def test_a_link_that_leads_nowhere_is_told_and_one_to_a_folder_is_not_followed(place):
    (place / "in" / "lost.jpg").symlink_to("none")
    (place / "in" / "round.jpg").symlink_to("round.jpg")
    (place / "in" / "folder.jpg").symlink_to("deep")
    told = ["in/c.png", "in/deep/d.gif", "in/lost.jpg", "in/round.jpg"]
    assert found("in") == told
    assert [asked.read(Path(name), False).reason is None for name in told] == [True, True, False, False]
