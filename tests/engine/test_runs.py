import pytest

from tlkeras import spec
from tlkeras.engine.runs import RunFolder
from tlkeras.errors import TlkerasError


@pytest.fixture
def folder(tmp_path):
    made = RunFolder(tmp_path / "run")
    made.write_spec(spec.make({"data": "photos"}))
    return made


def test_a_run_is_continued_only_when_asked(folder):
    with pytest.raises(TlkerasError, match="--resume"):
        folder.check_usable(spec.make({"data": "photos"}), resume=False)
    folder.check_usable(spec.make({"data": "photos"}), resume=True)


def test_another_spec_is_refused_and_the_difference_named(folder):
    with pytest.raises(TlkerasError, match="epochs: 10 != 3"):
        folder.check_usable(spec.make({"data": "photos", "epochs": 3}), resume=True)


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(TlkerasError, match="holds no run"):
        RunFolder(tmp_path).check_usable(spec.make(), resume=False)


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(TlkerasError, match="cannot be written"):
        RunFolder(tmp_path / "file" / "run").check_usable(spec.make(), resume=False)


def test_history_survives_the_file(folder):
    rows = [{"epoch": 1, "phase": 1, "loss": 0.1 + 0.2, "val_loss": 1e-7}]
    folder.write_history(rows)
    assert folder.read_history() == rows


def test_the_newest_export_has_the_highest_number(folder):
    for name in ("1", "9", "10", ".tmp-11"):
        (folder.exports / name).mkdir(parents=True)
        (folder.exports / name / "saved_model.pb").touch()
    (folder.exports / "11").mkdir()
    assert folder.newest_export.name == "10"


def test_a_cache_that_cannot_be_written_is_named(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path / "run" / "spec.toml"))
    with pytest.raises(TlkerasError, match=r"spec\.toml cannot be written .*: set TLKERAS_HOME"), folder.held():
        pass


@pytest.mark.parametrize("content", ["{", "[]", "\xff"])
def test_damaged_metrics_are_told(tmp_path, content):
    (tmp_path / "metrics.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(TlkerasError, match=r"metrics\.json is damaged; `tlkeras evaluate .*` writes it again"):
        RunFolder(tmp_path).read_metrics()
