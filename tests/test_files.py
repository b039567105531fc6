import pytest

from tlkeras.files import atomic_write, written_aside


def test_text_and_bytes_arrive(tmp_path):
    atomic_write(tmp_path / "new" / "a.txt", "Zürich")
    atomic_write(tmp_path / "b", b"\x00")
    assert (tmp_path / "new" / "a.txt").read_text("utf-8") == "Zürich"
    assert (tmp_path / "b").read_bytes() == b"\x00"


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    atomic_write(tmp_path / "a", "old")
    with pytest.raises(RuntimeError), written_aside(tmp_path / "a") as aside:
        aside.write_text("half")
        raise RuntimeError
    assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("a", "old")]


def test_the_suffix_is_kept_aside(tmp_path):
    with written_aside(tmp_path / "model.keras") as aside:
        assert aside.suffix == ".keras"
