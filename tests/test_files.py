import pytest

from tlkeras.files import atomic_write


@pytest.mark.parametrize(("data", "expected"), [("grün", "grün".encode()), (b"\x00\xff", b"\x00\xff")])
def test_writes_text_and_bytes_over_what_was_there(tmp_path, data, expected):
    (tmp_path / "a").write_text("old")
    atomic_write(tmp_path / "a", data)
    assert (tmp_path / "a").read_bytes() == expected


def test_failure_leaves_the_old_file_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("old")
    with pytest.raises(TypeError):
        atomic_write(tmp_path / "a", 5)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "old")]
