import pytest
from helpers import write_photo

from tlkeras.data.unlabelled import unlabelled
from tlkeras.errors import TlkerasError


def test_all_good_images_below_a_folder_are_found(tmp_path):
    for seed, name in enumerate(("b.jpg", "in/deep/a.PNG", ".hidden/c.jpg")):
        write_photo(tmp_path / name, seed)
    (tmp_path / "damaged.jpg").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("a text")
    said = []
    found = unlabelled(tmp_path, "image", say=said.append)
    assert [example.name for example in found] == ["b.jpg", "in/deep/a.PNG"]
    assert {example.label for example in found} == {""} and all(len(example.sha256) == 64 for example in found)
    assert said == ["left out: damaged.jpg: not an image"]


def test_a_file_gives_a_text_a_line(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_text("one\n\ntwo\n")
    said = []
    assert [example.text for example in unlabelled(file, "text", say=said.append)] == ["one", "two"]
    assert said == [f"left out: {file}:2: empty: no text"]


@pytest.mark.parametrize(("task", "message"), [("image", "there is no folder"), ("text", "there is no file")])
def test_what_is_not_there_is_told(tmp_path, task, message):
    with pytest.raises(TlkerasError, match=message):
        unlabelled(tmp_path / "none", task)


def test_a_file_that_is_none_of_texts_is_told(tmp_path):
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\n a line \n\0\n")
    with pytest.raises(TlkerasError, match=r"photo\.jpg is no file of texts: it has a NUL byte"):
        unlabelled(tmp_path / "photo.jpg", "text")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(TlkerasError, match=rf"texts without labels come in a file: {tmp_path} is none"):
        unlabelled(tmp_path, "text")


def test_a_folder_of_nothing_is_told(tmp_path):
    with pytest.raises(TlkerasError, match=r"no images in .* that can be used"):
        unlabelled(tmp_path, "image")
