import pytest

from tlkeras import sizes
from tlkeras.errors import TlkerasError

GB = 10**9


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * GB), ("500 MB", GB // 2), ("1.5GiB", 3 * 2**29), (" 7kb ", 7000), ("0B", 0), ("3tib", 3 * 2**40)],
)
def test_amounts(text, size):
    assert sizes.memory_budget(text) == sizes.parse(text, "it") == size


@pytest.mark.parametrize("text", ["2", "GB", "-1GB", "1e9B", "2 G", "nan", "2IB", "1,5GB", "9" * 400 + "TB", "٣GB"])
def test_what_is_no_amount(text):
    with pytest.raises(TlkerasError, match="it is a number and B, KB"):
        sizes.parse(text, "it")
    with pytest.raises(TlkerasError, match="memory is auto"):
        sizes.memory_budget(text)


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 B"), (999, "999 B"), (999.9, "1.00 KB"), (1250, "1.25 KB"), (12_345_678, "12.3 MB"), (2e10, "20.0 GB")],
)
def test_words(size, words):
    assert sizes.words(size) == words


def test_a_quarter_of_what_is_free():
    assert 10**6 < sizes.memory_budget("") <= sizes.free_memory() // 3
    assert sizes.memory_budget(" AUTO ") > 10**6


def machine(root, groups, files):
    files = {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:   8000 kB\n", "proc/self/cgroup": groups, **files}
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return sizes.free_memory(root)


def test_a_machine_without_limits(tmp_path):
    unlimited = {"sys/fs/cgroup/a/memory.max": "max\n", "sys/fs/cgroup/a/memory.current": "5\n"}
    assert machine(tmp_path, "0::/a/b\n", unlimited) == 8000 * 1024


def test_groups_of_version_2(tmp_path):
    group = "sys/fs/cgroup/a/memory"
    files = {
        f"{group}.max": "5000000\n",
        f"{group}.current": "3000000\n",
        f"{group}.stat": "anon 1\ninactive_file 500\n",
    }
    assert machine(tmp_path, "0::/a/b\n", files) == 2_000_500


def test_groups_of_version_1_in_a_container(tmp_path):
    group = "sys/fs/cgroup/memory/memory"
    files = {f"{group}.limit_in_bytes": "5000\n", f"{group}.usage_in_bytes": "6000\n"}
    assert machine(tmp_path, "9:cpu:/x\n4:memory:/docker/b4\n", files) == 0


def test_a_system_that_tells_nothing(tmp_path):
    assert sizes.free_memory(tmp_path) > 10**6
