"""The commands as a user types them, in a process of their own where that matters."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tlkeras import consoles
from tlkeras.cli import main, show_conversion
from tlkeras.run import Run

FAST = ["--weights", "random", "--image-size", "32", "--epochs", "2"]
# For runs whose end is no matter.
ALONE = ["--no-export", "--no-report"]


def tlkeras(*arguments):
    return [sys.executable, "-c", "from tlkeras.cli import main; main()", *map(str, arguments)]


def run(*arguments):
    return subprocess.run(tlkeras(*arguments), capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def finished(photo_folder, tmp_path_factory):
    """A run that went through all of `tlkeras train`, and what it printed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    done = run("train", photo_folder, "--output", folder, *FAST)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


def test_a_run_leaves_everything(finished):
    folder, printed = finished
    made = {path.name for path in folder.iterdir()}
    assert made == {
        *(
            "spec.toml",
            "card.toml",
            "split.csv",
            "excluded.csv",
            "history.csv",
            "metrics.json",
            "model.keras",
            "report.html",
        ),
        *("checkpoints", "tensorboard", "export"),
    }
    assert (folder / "export" / "1" / "saved_model.pb").is_file()
    assert "epoch 2/2" in printed and "test accuracy" in printed and "next: tlkeras predict" in printed
    assert "\x1b" not in printed


def test_a_finished_run_is_not_done_again(finished, photo_folder):
    folder, _ = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    done = run("train", photo_folder, "--output", folder, *FAST, "--resume")
    assert done.returncode == 0 and "epoch" not in done.stdout
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_a_run_says_how_long_its_stages_took(finished):
    folder, printed = finished
    stages = json.loads((folder / "metrics.json").read_text())["stages"]
    assert {"start", "check", "build", "evaluate", "report", "export", "total"} <= set(stages)
    assert stages.pop("total") == pytest.approx(sum(stages.values()), abs=1e-3)
    assert printed.count("\ntime ") == 1 and f" s: start {stages['start']:.1f}, " in printed
    exported = json.loads((folder / "export" / "1" / "assets.extra" / "model.json").read_text())
    assert "accuracy" in exported["metrics"] and "stages" not in exported["metrics"]


def test_export_and_report_can_come_later(photo_folder, tmp_path):
    train = ["train", photo_folder, "--output", tmp_path, *FAST, "--resume"]
    first = run(*train, "--no-export", "--no-report", "--cache-memory", "1GB").stdout
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "export").exists()
    assert "report " not in first and "export " not in first and f"predict {tmp_path} " in first
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    then = run(*train, "--no-export").stdout
    assert (tmp_path / "report.html").is_file() and not (tmp_path / "export").exists() and "epoch" not in then
    last = run(*train).stdout
    assert "test accuracy" in last and f"predict {tmp_path / 'export' / '1'} " in last
    stages = json.loads((tmp_path / "metrics.json").read_text())["stages"]
    assert stages["export"] > 0 and stages["report"] > 0 and stages["start"] == metrics["stages"]["start"]


def test_evaluate_repeats_the_figures(finished):
    folder, _ = finished
    before = json.loads((folder / "metrics.json").read_text())
    done = run("evaluate", folder)
    assert done.returncode == 0 and "accuracy" in done.stdout
    assert json.loads((folder / "metrics.json").read_text()) == before


def test_evaluate_takes_other_data(finished, photo_folder):
    folder, _ = finished
    done = run("evaluate", folder, photo_folder)
    assert "warning: the run was trained on 24 of these 36 images" in done.stdout
    other = [path for path in folder.glob("metrics-*.json")]
    assert [json.loads(path.read_text())["count"] for path in other] == [36]
    other[0].unlink()


def test_run_and_export_predict_the_same(finished, photo_folder):
    folder, _ = finished
    files = [photo_folder / "red" / "00.png", photo_folder / "blue" / "03.png"]
    answers = [
        [json.loads(line) for line in run("predict", target, *files, "--json").stdout.splitlines()]
        for target in (folder, folder / "export", folder / "export" / "1")
    ]
    assert [answer["classes"] for answer in answers[0]] == [answer["classes"] for answer in answers[1]]
    assert answers[0][0]["scores"] == pytest.approx(answers[1][0]["scores"], abs=1e-4)
    assert answers[1] == answers[2]


def test_export_writes_the_next_number(finished):
    folder, _ = finished
    done = run("export", folder, "--print-serving")
    assert done.returncode == 0 and "export/2" in done.stderr
    assert (folder / "export" / "2" / "saved_model.pb").is_file()
    assert done.stdout.startswith("# models.config\n") and f"source={folder / 'export'}" in done.stdout


def test_a_killed_run_continues_to_the_same_end(photo_folder, tmp_path):
    settings = ["--image-size", "32", "--weights", "random", "--epochs", "3", "--fine-tune", "top:1"]
    settings += ["--fine-tune-epochs", "2", "--augment", "light", *ALONE]
    assert run("train", photo_folder, "--output", tmp_path / "whole", *settings).returncode == 0
    command = tlkeras("train", photo_folder, "--output", tmp_path / "killed", *settings, "--resume")
    for epochs in (1, 4):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and finished_epochs(tmp_path / "killed") < epochs:
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode == 0
    for name in ("history.csv", "split.csv"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    killed, whole = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("killed", "whole"))
    assert killed.pop("stages") and whole.pop("stages") and killed == whole


def finished_epochs(folder):
    history = folder / "history.csv"
    return len(history.read_text().splitlines()) - 1 if history.exists() else 0


def test_dry_run_shows_and_writes_nothing(photo_folder, tmp_path):
    done = run("train", photo_folder, "--output", tmp_path / "run", "--dry-run", "--fine-tune", "top:2")
    assert done.returncode == 0
    for text in ('backbone = "efficientnet_lite0"', "red", "stage7", "phase 2: trainable top:2"):
        assert text in done.stdout
    assert not (tmp_path / "run").exists()


def test_a_spec_file_repeats_a_run(finished, tmp_path):
    folder, _ = finished
    done = run("train", "--spec", folder / "spec.toml", "--output", tmp_path / "again", *ALONE)
    assert done.returncode == 0, done.stderr
    for name in ("history.csv", "split.csv", "spec.toml"):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_weights_taken_in_part_are_listed(finished, photo_folder, tmp_path):
    options = ["--backbone", "efficientnet_lite2", "--image-size", "32", "--epochs", "1"]
    weights = ["--weights", finished[0] / "model.keras", "--partial"]
    done = run("train", photo_folder, "--output", tmp_path / "run", *options, *weights, *ALONE)
    assert "copied 23 of 128 layers: stem_conv, " in done.stdout and "left as they were, 105 layers:" in done.stdout


def test_damaged_files_are_listed_and_do_not_stop_training(photo_folder, tmp_path):
    photos = tmp_path / "photos"
    for file in photo_folder.rglob("*.png"):
        (photos / file.parent.name).mkdir(parents=True, exist_ok=True)
        (photos / file.parent.name / file.name).write_bytes(file.read_bytes())
    (photos / "red" / "empty.jpg").touch()
    (photos / "red" / "text.jpg").write_text("no image")
    (photos / "blue" / "half.png").write_bytes((photo_folder / "blue" / "00.png").read_bytes()[:900])
    done = run("train", photos, "--output", tmp_path / "run", *FAST, *ALONE)
    assert done.returncode == 0 and "3 files left out" in done.stdout
    with (tmp_path / "run" / "excluded.csv").open(newline="") as file:
        assert {row["path"] for row in csv.DictReader(file)} == {"red/empty.jpg", "red/text.jpg", "blue/half.png"}


def test_two_processes_do_not_train_in_one_folder(photo_folder, tmp_path):
    command = tlkeras("train", photo_folder, "--output", tmp_path / "run", *FAST, "--set", "epochs=400")
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while first.poll() is None and not finished_epochs(tmp_path / "run"):
        time.sleep(0.02)
    second = run("train", photo_folder, "--output", tmp_path / "run", *FAST, "--set", "epochs=400", "--resume")
    first.kill()
    first.wait()
    assert second.returncode == 2 and "another process is training in" in second.stderr


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished[0], tmp_path / "copied"))


@pytest.mark.parametrize(
    ("damaged", "command"), [("model.keras", "evaluate"), ("metrics.json", "export"), ("split.csv", "evaluate")]
)
def test_a_damaged_run_says_which_file(copied, damaged, command, capsys):
    (copied / damaged).write_bytes((copied / damaged).read_bytes()[:20])
    with pytest.raises(SystemExit) as left:
        main([command, str(copied)])
    printed = capsys.readouterr().err
    assert left.value.code == 2 and f"{damaged} is damaged" in printed


def test_a_kill_between_checkpoint_and_history_loses_nothing(copied, photo_folder):
    history = (copied / "history.csv").read_bytes()
    (copied / "history.csv").unlink()
    (copied / "model.keras").unlink()
    (copied / ".unfinished-model.abc.keras").write_text("half")
    done = run("train", photo_folder, "--output", copied, *FAST, *ALONE, "--resume")
    assert done.returncode == 0, done.stderr
    assert (copied / "history.csv").read_bytes() == history
    assert not list(copied.glob(".unfinished*"))


@pytest.mark.parametrize("name", ["serve-check", "export", "evaluate", "predict"])
def test_a_folder_that_tensorflow_cannot_open_is_one_line(finished, tmp_path, name):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff"))
    odd.symlink_to(finished[0])
    done = run(name, odd, *[__file__] * (name == "predict"))
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "are not UTF-8" in done.stderr


def test_names_that_are_no_text_are_printed(finished, photo_folder, tmp_path):
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.png"))
    odd.write_bytes((photo_folder / "red" / "00.png").read_bytes())
    done = run("predict", finished[0] / "export", odd, "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["classes"]


def test_a_pruned_model_is_served_with_figures_of_its_own(finished, tmp_path, capsys):
    opened = Run(finished[0])
    pruned = show_conversion.prune(consoles.make(), opened, 0.5, max_drop=1.0, force=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["size", "gzip", "accuracy"] in lines and [line[0] for line in lines[-3:]] == ["model", "pruned", "x"]
    assert pruned["sparsity"] == 0.5 and 0.3 < pruned["zeros"] < 0.5
    exported = opened.export(tmp_path, pruned=pruned, proven=False)
    metrics = json.loads((exported.path / "assets.extra" / "model.json").read_text())["metrics"]
    assert metrics["pruned"] == pruned and metrics["accuracy"]["value"] == pruned["accuracy"]


def test_a_run_is_written_for_small_devices(finished, tmp_path, capsys):
    pytest.importorskip("ai_edge_litert", reason="needs ai-edge-litert, of the extra lite")
    folder = shutil.copytree(finished[0], tmp_path / "run")
    main(["export", str(folder), "--format", "tflite", "--quantize", "float16", "--max-drop", "1"])
    printed = capsys.readouterr().out
    heading, model, file = [line.split() for line in printed.splitlines() if line.strip()][:3]
    assert heading[:4] == ["size", "gzip", "accuracy", "ms"] and (model[0], file[0]) == (
        "model",
        "model-float16.tflite",
    )
    assert json.loads((folder / "export-tflite" / "model-float16.json").read_text())["quantize"] == "float16"
