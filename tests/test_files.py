import os
import subprocess
import sys

import pytest

from tlkeras.errors import TlkerasError
from tlkeras.files import atomic_write, check_name, remove_abandoned, written_aside


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


KILLED = """
import os, pathlib, signal, sys
from tlkeras.files import written_aside
with written_aside(pathlib.Path(sys.argv[1])):
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_leaves_goes_and_what_is_being_written_stays(tmp_path):
    path = tmp_path / "model.onnx"
    assert subprocess.run([sys.executable, "-c", KILLED, path], check=False).returncode < 0
    (left,) = tmp_path.iterdir()
    with written_aside(path) as aside:
        remove_abandoned(tmp_path)
        assert aside.exists() and not left.exists()


def test_a_failure_leaves_no_folder_that_was_made_for_it(tmp_path):
    for parent in (tmp_path / "new", tmp_path):
        with pytest.raises(RuntimeError), written_aside(parent / "a"):
            raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_suffix_is_kept_aside(tmp_path):
    with written_aside(tmp_path / "model.keras") as aside:
        assert aside.suffix == ".keras"


def test_a_name_that_tensorflow_cannot_open_is_refused():
    check_name("runs/zürich")
    with pytest.raises(TlkerasError, match=r"'runs/\\udcff' has letters that are not UTF-8"):
        check_name(os.fsdecode(b"runs/\xff"))
