"""`tlkeras cache` as a user types it."""

import json
import subprocess
import sys

import numpy as np
import pytest

from tlkeras.cli import main
from tlkeras.features import folders
from tlkeras.features.store import Store

ABOUT = {"model": "tiny", "image_size": 32, "frontier": ["a", "b"], "dtype": "float16", "engine": "tensorflow"}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path))
    monkeypatch.setenv("TLKERAS_CACHE_LIMIT", "2.5GB")
    return tmp_path


@pytest.fixture
def run(capsys):
    def command(*arguments):
        main(["cache", *arguments])
        return capsys.readouterr().out

    return command


def open_filled(model, rows=3):
    store = Store.open(ABOUT | {"model": model}, [((500,), "float16")])
    store.add([str(number) for number in range(rows)], [np.zeros((rows, 500))])
    store.flush()
    return store


def fill(model, rows=3):
    with open_filled(model, rows) as store:
        return store.folder


def test_what_is_no_folder_is_told(refusal, home):
    (home / "features").write_text("")
    assert f"{home}/features is no folder, and features are kept in one of that name: move" in refusal("cache", "list")


def test_list(run, home):
    assert run("list") == f"0 in {home}/features, 0 B of at most 2.50 GB\n"
    folder = fill("one", 1234)
    with open_filled("two"):
        lines = run("list").splitlines()
        assert " ".join(lines[0].split()) == "key model pixels frontier dtype engine rows size last used"
        assert [line.split()[0] for line in lines[1:3]] == [store.key[:8] for store in folders.all_stores()]
        (one,), (two,) = ([line for line in lines if name in line.split()] for name in ("one", "two"))
        assert " ".join(one.split()).startswith(f"{folder.name[:8]} one 32 a b float16 tensorflow 1,234 1.24 MB 2")
        assert two.split()[-4:] == ["3", "3.23", "KB", "now"]
        assert lines[3].startswith("2 in ") and lines[3].endswith(" of at most 2.50 GB")
        rows = [json.loads(line) for line in run("list", "--json").splitlines()]
    assert {(row["about"]["model"], row["rows"], row["in_use"]) for row in rows} == {("one", 1234, 0), ("two", 3, 1)}
    assert rows[0].keys() == {"key", "path", "about", "rows", "bytes", "last_used", "in_use"}


def test_clear_all_but_what_is_in_use(run, home):
    (home / "weights").mkdir()
    (home / "features" / "notes").mkdir(parents=True)
    gone = fill("one")
    with open_filled("two") as store:
        printed = run("clear")
        assert "one: removed, 3." in printed and "two: in use, left as it is (3." in printed
        assert printed.splitlines()[-1].startswith("3.") and printed.endswith(" KB freed\n")
        assert store.folder.exists() and not gone.exists()
        store.add(["9"], [np.ones((1, 500))])
    assert "two: removed" in run("clear") and run("clear") == "0 B freed\n"
    assert sorted(path.name for path in home.iterdir()) == ["features", "weights"]
    assert [path.name for path in (home / "features").iterdir()] == ["notes"]


def test_clear_by_key(run, refusal):
    assert "nothing is kept in" in refusal("cache", "clear", "0")
    folder, other = fill("one"), fill("two")
    for key in ("none", "", ".."):
        assert f"Legal: {folders.all_stores()[0].key[:8]}, " in refusal("cache", "clear", folder.name, key)
    assert folder.exists() and run("clear", folder.name[:6], folder.name).count("removed") == 1
    assert other.exists() and not folder.exists()
    twin = other.with_name(f"{other.name[:-1]}{'0' if other.name[-1] != '0' else '1'}")
    other.rename(twin)
    fill("two")
    assert "several keys begin so" in refusal("cache", "clear", other.name[:5])


def test_folders_that_are_not_whole(run):
    folder = fill("one")
    (folder / "about.json").write_text("[")
    next(folder.glob("*.rows")).write_bytes(b"damaged")
    (folder / "lock").unlink()
    (folder.with_name("0" * 24)).mkdir()
    (folder.with_name(".unfinished-of-a-killed-process")).mkdir()
    assert [json.loads(line)["rows"] for line in run("list", "--json").splitlines()] == [0, 0]
    assert run("list").startswith("key") and run("clear").count("removed") == 2
    assert not list(folder.parent.iterdir())


def test_a_limit_that_is_none(refusal, monkeypatch):
    monkeypatch.setenv("TLKERAS_CACHE_LIMIT", "-1GB")
    assert "TLKERAS_CACHE_LIMIT is a number and B, KB, MB" in refusal("cache", "list")


def test_it_starts_without_numpy():
    program = (
        "import sys; from tlkeras.cli import main\ntry: main(['cache', 'list'])\nfinally: print('numpy' in sys.modules)"
    )
    fill("one")
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.splitlines()[-1] == "False", done.stderr
