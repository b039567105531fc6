import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tlkeras.errors import TlkerasError
from tlkeras.files import is_leftover
from tlkeras.versions import prune, publish, versions


def fill(folder: Path) -> str:
    (folder / "saved_model.pb").write_text("whole")
    return "done"


def test_numbers_count_up_from_one(tmp_path):
    assert [publish(tmp_path / "export", fill) for _ in range(2)] == [
        (tmp_path / "export" / "1", "done"),
        (tmp_path / "export" / "2", "done"),
    ]


def test_the_newest_comes_last_and_other_folders_do_not_count(tmp_path):
    for name in ("2", "10", "9"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name)
    (tmp_path / "11").mkdir()
    # The last ones have more than 64 bits, or digits to Python alone.
    for name in ("latest", str(2**63), "9" * 200, "\u0661\u0662"):
        (tmp_path / name).mkdir()
        fill(tmp_path / name)
    assert [path.name for path in versions(tmp_path)] == ["2", "9", "10"]
    assert publish(tmp_path, fill)[0].name == "12"


def test_after_the_highest_number_there_is_none(tmp_path):
    (tmp_path / str(2**63 - 1)).mkdir()
    with pytest.raises(TlkerasError, match="no number is left"):
        publish(tmp_path, fill)


def test_a_failure_leaves_nothing(tmp_path):
    def fail(folder):
        fill(folder)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        publish(tmp_path, fail)
    assert list(tmp_path.iterdir()) == []


def test_a_version_loses_its_number_before_it_is_removed(tmp_path, monkeypatch):
    for _ in range(3):
        publish(tmp_path, fill)
    # What one sees who was killed before anything was removed.
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    assert prune(tmp_path, 1) == [1, 2]
    assert [path.name for path in tmp_path.iterdir() if not is_leftover(path)] == ["3"]


def test_of_a_version_that_is_a_link_the_link_goes(tmp_path):
    (tmp_path / "kept").mkdir()
    fill(tmp_path / "kept")
    (tmp_path / "0").symlink_to("kept")
    publish(tmp_path, fill)
    assert prune(tmp_path, 1) == [0]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "kept"]
    assert (tmp_path / "kept" / "saved_model.pb").exists()


def test_two_at_once_get_two_numbers(tmp_path):
    both_are_full = threading.Barrier(2)

    def fill_together(folder):
        fill(folder)
        both_are_full.wait(timeout=30)

    threads = [threading.Thread(target=publish, args=(tmp_path, fill_together)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


KILLED = """
import os, pathlib, signal, sys
from tlkeras.errors import TlkerasError
from tlkeras.versions import publish
def fill(folder):
    (folder / "saved_model.pb").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
publish(pathlib.Path(sys.argv[1]), fill)
"""


def test_what_a_killed_exporter_leaves_has_no_number_and_goes_with_the_next(tmp_path):
    assert subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False).returncode < 0
    (left,) = tmp_path.iterdir()
    assert not left.name.isdecimal()
    publish(tmp_path, fill)
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_what_a_living_exporter_writes_is_left_alone(tmp_path):
    def fill_while_another_does(folder):
        publish(tmp_path, fill)
        fill(folder)

    assert publish(tmp_path, fill_while_another_does)[0].name == "2"
