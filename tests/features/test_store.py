"""The store of features: what was added comes back, whatever happens to the process or to the files."""

import contextlib
import errno
import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tlkeras.errors import TlkerasError
from tlkeras.features import folders, shards
from tlkeras.features.store import Store

KINDS = [((2, 3), "float16"), ((4,), "float32")]
ABOUT = {"model": "tiny", "frontier": ["a", "b"], "image_size": 32}


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path))
    return tmp_path


def open_store(**changes):
    return Store.open(ABOUT | changes, KINDS)


def values(names):
    """Rows that can be known again by their names, which are numbers."""
    numbers = np.array([int(name) for name in names], np.float32)
    return [np.broadcast_to(numbers[:, None, None], (len(names), 2, 3)), np.stack([numbers] * 4, 1) + 0.25]


def names_of(*numbers):
    return [str(number) for number in numbers]


def assert_right(taken, names):
    for array, right, (shape, dtype) in zip(taken, values(names), KINDS, strict=True):
        assert array.dtype == dtype and array.shape == (len(names), *shape)
        assert np.array_equal(array, right.astype(dtype))


def fill(numbers, shard=7, **changes):
    with open_store(**changes) as store:
        for start in range(0, len(numbers), shard):
            names = names_of(*numbers[start : start + shard])
            store.add(names, values(names))
            store.flush()
    return store.folder


@pytest.mark.parametrize("memory", [0, 10**9])
def test_rows_come_back_in_any_order(memory):
    fill(range(40))
    random = np.random.default_rng(0)
    names = names_of(*random.integers(0, 40, 100))
    with open_store() as store:
        rows = store.rows(names, memory)
        assert rows.is_in_memory == bool(memory) and rows.bytes == 100 * (2 * 6 + 4 * 4) and len(rows) == 100
        assert (rows.arrays is None) == (not memory)
        for positions in (np.arange(100), random.permutation(100), random.integers(0, 100, 9), np.array([], int)):
            assert_right(rows.take(positions), [names[position] for position in positions])
        blocks = rows.blocks(30)
        assert [len(block) for block in blocks] == [30, 30, 30, 10]
        assert sorted(np.concatenate(blocks)) == list(range(100))


def test_blocks_lie_together_and_are_the_same_for_all_who_read():
    numbers = list(np.random.default_rng(0).permutation(40))
    folder = fill(numbers)
    with open_store() as store:
        rows = store.rows(names_of(*range(40)), 0)
        assert folder == store.folder and np.concatenate(rows.blocks(6)).tolist() == numbers


def test_missing_before_and_after_writing():
    with open_store() as store:
        assert store.missing(names_of(1, 2, 1, 3)) == [0, 1, 3]
        store.add(names_of(1, 2), values(names_of(1, 2)))
        assert store.missing(names_of(1, 2, 1, 3)) == [3]
        with pytest.raises(KeyError, match="1 of 2 have no row, such as 3"):
            store.rows(names_of(2, 3), 0)
        assert_right(store.rows(names_of(2), 0).take([0]), names_of(2))
    with open_store() as store:
        assert store.missing(names_of(1, 2, 3)) == [2]
    with open_store(image_size=64) as store:
        assert store.missing(names_of(1)) == [0]


def test_a_large_addition_is_cut_into_shards(monkeypatch):
    with Store.open({}, [((1024, 1024), "float32")]) as store:
        store.add(names_of(*range(20)), [np.zeros((20, 1024, 1024), np.int8)])
        assert len(list(store.folder.glob("*.rows"))) == 2
        assert len(store.missing(names_of(*range(21)))) == 1


def test_what_float16_cannot_hold_is_its_largest():
    with Store.open({}, [((), "float16")]) as store:
        store.add(names_of(*range(4)), [np.array([1e30, -np.inf, np.nan, 0.5], np.float64)])
        taken = store.rows(names_of(*range(4)), 0).take(np.arange(4))[0]
    assert np.array_equal(taken, np.array([65504, -65504, np.nan, 0.5], np.float16), equal_nan=True)


def test_wrong_shapes_are_refused():
    with open_store() as store, pytest.raises(ValueError, match="arrays need the shapes"):
        store.add(["1", "2"], values(["1"]))


DAMAGES = {
    "a bit in the rows": lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
    "a bit in the names": lambda data: data[:90] + bytes([data[90] ^ 1]) + data[91:],
    "truncated": lambda data: data[:-1],
    "longer": lambda data: data + b"\0",
    "empty": lambda data: b"",
    "foreign": lambda data: b"\x89HDF\r\n\x1a\n" * 9,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_shard_is_computed_again(damage):
    folder = fill(range(21))
    shard = sorted(folder.glob("*.rows"))[1]
    shard.write_bytes(DAMAGES[damage](shard.read_bytes()))
    names = names_of(*range(21))
    with open_store() as store:
        missing = store.missing(names)
        assert missing == list(range(7, 14)) and not shard.exists()
        again = [names[position] for position in missing]
        store.add(again, values(again))
        assert_right(store.rows(names, 10**9).arrays, names)


def test_a_row_in_two_shards_counts_once_and_outlives_one():
    fill(range(7))
    with open_store() as first, open_store() as second:
        for store in (first, second):
            store.add(names_of(7, 8), values(names_of(7, 8)))
    names = names_of(*range(9))
    with open_store() as store:
        assert folders.all_stores()[0].rows() == 9 and len(list(store.folder.glob("*.rows"))) == 3
        last = sorted(store.folder.glob("*.rows"))[-1]
        last.write_bytes(last.read_bytes()[:-1] + b"\xff")
        assert_right(store.rows(names, 0).take(np.arange(9)), names)


def test_a_shard_of_other_kinds_is_not_used():
    folder = fill(range(7))
    with Store.open(ABOUT, KINDS[:1]) as other:
        next(folder.glob("*.rows")).rename(other.folder / "1.rows")
    with Store.open(ABOUT, KINDS[:1]) as other:
        assert other.missing(names_of(0)) == [0]


def test_files_that_change_while_they_are_read():
    fill(range(7))
    with open_store() as store:
        rows = store.rows(names_of(*range(7)), 0)
        os.truncate(next(store.folder.glob("*.rows")), 300)
        with pytest.raises(TlkerasError, match="changed while they were in use"):
            rows.take(np.arange(7))


WRITER = """
import sys, numpy as np
from tlkeras.features.store import Store
with Store.open({"model": "w"}, [((1000,), "float32")]) as store:
    for number in range(*map(int, sys.argv[1:])):
        if store.missing([str(number)]):
            store.add([str(number)], [np.full((1, 1000), number)])
            store.flush()
            print(number, flush=True)
"""


def start_writer(first, end):
    return subprocess.Popen([sys.executable, "-c", WRITER, str(first), str(end)], stdout=subprocess.PIPE, text=True)


def open_written(count):
    store = Store.open({"model": "w"}, [((1000,), "float32")])
    missing = store.missing(names_of(*range(count)))
    return store, missing


def test_a_killed_process_is_continued():
    writer = start_writer(0, 10**6)
    for _ in range(50):
        writer.stdout.readline()
    writer.send_signal(signal.SIGKILL)
    printed = int(["49", *writer.communicate()[0].split()][-1])
    (folders.all_stores()[0].path / ".unfinished-1.rows").touch()
    store, missing = open_written(printed + 1)
    with store:
        assert missing == [] and not list(store.folder.glob(".unfinished-*"))
        taken = store.rows(names_of(*range(printed + 1)), 0).take(np.arange(printed + 1))[0]
        assert np.array_equal(taken[:, 999], np.arange(printed + 1))


def test_rows_that_come_slowly_are_written_now_and_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    with open_store() as store:
        for number in range(40):
            now[0] += 1
            store.add(names_of(number), values(names_of(number)))
        assert [len(shards.names_in(path)) for path in shards.paths_in(store.folder)] == [10] * 4


def test_a_store_of_nothing_is_not_kept():
    open_store().close()
    assert folders.all_stores() == []


def test_two_processes_at_once():
    writers = [start_writer(0, 60), start_writer(30, 90)]
    assert [writer.communicate() and writer.returncode for writer in writers] == [0, 0]
    store, missing = open_written(90)
    with store:
        assert missing == []
        assert np.array_equal(store.rows(names_of(*range(90)), 10**9).arrays[0][:, 0], np.arange(90))


def test_least_recently_used_go_first(monkeypatch):
    paths = [fill(range(100), shard=100, seed=seed) for seed in range(4)]
    for age, path in enumerate(paths):
        os.utime(path / folders.LOCK, (1000 - age,) * 2)
    size = folders.all_stores()[0].bytes
    monkeypatch.setenv("TLKERAS_CACHE_LIMIT", f"{3.5 * size:.0f}B")
    with open_store(seed=3):
        pass
    assert [path.exists() for path in paths] == [True, True, False, True]
    with open_store(seed=1), open_store(seed=0):
        monkeypatch.setenv("TLKERAS_CACHE_LIMIT", "0B")
        fill(range(1), seed=5)
        assert [path.exists() for path in paths] == [True, True, False, False]
        assert not list(folders.root().glob(".unfinished-*"))


def test_a_store_that_another_process_has_open_stays(monkeypatch):
    with start_writer(0, 10**6) as writer:
        writer.stdout.readline()
        (store,) = folders.all_stores()
        monkeypatch.setenv("TLKERAS_CACHE_LIMIT", "1B")
        fill(range(7))
        folders.keep_within(0)
        assert [folder.key for folder in folders.all_stores()] == [store.key]
        assert store.in_use() and not folders.remove(store)
        writer.kill()
        writer.communicate()
    assert not store.in_use() and folders.remove(store) and not folders.all_stores()


def test_a_limit_that_is_none(monkeypatch):
    monkeypatch.setenv("TLKERAS_CACHE_LIMIT", "plenty")
    with pytest.raises(TlkerasError, match="TLKERAS_CACHE_LIMIT is a number and B, KB"):
        open_store()


def test_a_full_disk_leaves_nothing_half_written(monkeypatch):
    with open_store() as store:
        names = names_of(*range(1000))
        store.add(names, values(names))
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            with pytest.raises(OSError) as failed:
                store.flush()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, ignored)
        assert failed.value.errno == errno.EFBIG
        assert sorted(path.name for path in store.folder.iterdir()) == ["about.json", "lock"]
        assert_right(store.rows(names, 0).take(np.arange(1000)), names)


def test_what_was_computed_before_a_failure_is_kept():
    with contextlib.suppress(KeyboardInterrupt), open_store() as store:
        store.add(names_of(1), values(names_of(1)))
        raise KeyboardInterrupt
    with open_store() as store:
        assert store.missing(names_of(1)) == []


def test_names_in_a_damaged_shard_are_none(tmp_path):
    (tmp_path / "a.rows").write_bytes(b"no shard")
    assert shards.names_in(tmp_path / "a.rows") == [] and shards.read(tmp_path / "a.rows", KINDS) is None
