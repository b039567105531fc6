import sys

import pytest
import stand_in
from helpers import REPOSITORY

from tlkeras.export import golden, replay
from tlkeras.export.contract import read_about
from tlkeras.export.python_runtime import PythonRuntime


@pytest.fixture
def exporters(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    monkeypatch.delitem(sys.modules, "serving_exporters", raising=False)
    import serving_exporters

    return serving_exporters


def test_the_first_of_the_golden_requests_are_asked(exporters, tmp_path):
    export = stand_in.write(tmp_path / "1")
    first = exporters._first(golden.read(export), 3)
    assert len(first.requests) == len(first.logits) == len(first.is_unknown) == 3
    assert replay.replay(PythonRuntime(export).ask, first, read_about(export), 3).startswith("3 answers")
