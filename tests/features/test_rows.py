"""Rows that are larger than the memory they may take."""

import subprocess
import sys


def test_memory_does_not_grow_with_the_rows(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path))
    program = """
import resource, numpy as np
from tlkeras.features.store import Store
with Store.open({}, [((14, 14, 112), "float16")]) as store:
    names = [str(number) for number in range(5000)]
    random = np.random.default_rng(0)
    batch = random.normal(size=(100, 14, 14, 112)).astype("float32")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for start in range(0, 5000, 100):
        store.add(names[start : start + 100], [batch])
    rows = store.rows(names, 50_000_000)
    assert rows.bytes > 200_000_000 and not rows.is_in_memory
    for block in rows.blocks(256):
        rows.take(random.permutation(block))
    rows.take(random.permutation(5000)[:64])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 120_000_000
