"""What a user may get wrong in a command: one line and exit code 2; `--debug` shows where."""

import pytest

from tlkeras.cli import main


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["trian"], "Did you mean 'train'"),
        (
            ["train", "{photos}", "--output", "{new}", "--backbone", "efficientnet_lte0"],
            "Did you mean 'efficientnet_lite0'",
        ),
        (["train", "{new}", "--output", "{new}"], "does not exist"),
        (["train", "{photos}/red", "--output", "{new}"], "no class folders"),
        (["train", "{photos}", "--output", "{photos}/red/00.png/run"], "cannot be written"),
        (["train", "{photos}", "--output", "{photos}"], "holds no run"),
        (["train", "{photos}"], "--output"),
        (["train", "--output", "{new}"], "no data named"),
        (["train", "{photos}", "--output", "{new}", "--epochs", "none"], "epochs: legal is"),
        (["train", "{photos}", "--output", "{new}", "--set", "epohcs=1"], "Did you mean 'epochs'"),
        (["train", "{photos}", "--output", "{new}", "--trainable", "top:99"], "1 to 8 stages"),
        (["train", "{photos}", "--output", "{new}", "--fine-tune", "top:99"], "1 to 8 stages"),
        (["train", "{photos}", "--output", "{new}", "--weights", "none.keras"], "none.keras"),
        (["train", "{photos}", "--dry-run", "--weights", "{photos}/red/00.png"], "or a file (.keras, .weights.h5"),
        (["train", "{photos}", "--dry-run", "--devices", "gpus"], "Did you mean 'gpu'? Legal: auto, cpu"),
        (["train", "digit:x", "--output", "{new}"], "Did you mean 'digits'"),
        (["evaluate", "{photos}"], "is no run folder"),
        (["predict", "{photos}", ""], "an empty name; give a file or a folder"),
        (["export", ""], "'RUN': an empty name"),
        (["export", "runs", "--unknown", "energy", "--outliers", ""], "'--outliers': an empty name"),
        (["serve-check", "{photos}", ""], "an empty name"),
        (["export", "{new}"], "is no run folder"),
        (["predict", "{photos}", "{photos}/red/00.png"], "photos"),
        (["train", "{photos}", "--output", "{new}", "--partial"], "partial: needs a file of weights"),
        (["zoo", "show", "resnet51"], "Did you mean 'resnet50'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, message, photo_folder, tmp_path, capsys):
    filled = [argument.format(photos=photo_folder, new=tmp_path / "new") for argument in arguments]
    with pytest.raises(SystemExit) as left:
        main(filled)
    printed = capsys.readouterr().err
    assert left.value.code == 2
    assert message in printed and "Traceback" not in printed and len(printed.strip().splitlines()) <= 2
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("arguments", [["--debug", "evaluate", "."], ["evaluate", ".", "--debug"]])
def test_debug_shows_where(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        main(arguments)
    assert "Traceback" in capsys.readouterr().err
