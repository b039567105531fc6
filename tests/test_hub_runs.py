"""Runs with a backbone of TF-Hub through the command line: they need nothing but their folder afterwards."""

import json
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import tlkeras
from tlkeras import cli
from tlkeras.backbones import hub_places
from tlkeras.backbones.hub_module import HubModule
from tlkeras.errors import TlkerasError
from tlkeras.predict import predict

SETTINGS = ["--image-size", "32", "--epochs", "1", "--fine-tune", "top:1", "--fine-tune-epochs", "1"]


def say(capsys, *arguments):
    with pytest.raises(SystemExit) as left:
        cli.main([str(argument) for argument in arguments])
        raise SystemExit(0)
    return left.value.code, "".join(capsys.readouterr())


@pytest.fixture(scope="module")
def moved(hub_module, photo_folder, tmp_path_factory):
    """A run whose module is gone, and that lies elsewhere now."""
    folder = tmp_path_factory.mktemp("hub-runs")
    module = shutil.copytree(hub_module("keras2"), folder / "module")
    cli.main(["train", str(photo_folder), "--backbone", f"hub:{module}", "--output", str(folder / "run"), *SETTINGS])
    shutil.rmtree(module)
    return (folder / "run").rename(folder / "elsewhere")


def test_the_run_has_everything(moved, capsys, photo_folder):
    assert (moved / "module" / "saved_model.pb").is_file()
    run = tlkeras.Run(moved)
    assert run.export().parity.max_difference < 1e-5
    for target in (moved, moved / "model.keras", moved / "export"):
        code, said = say(capsys, "predict", target, photo_folder / "red" / "00.png")
        assert code == 0 and "red" in said
    about = json.loads((moved / "export/1/assets.extra/model.json").read_text())
    assert len(about["card"]["stages"]) == 3 and about["card"]["license"] == "unknown"


def test_a_trained_run_is_not_trained_again(moved, capsys):
    code, said = say(capsys, "train", "--spec", moved / "spec.toml", "--output", moved, "--resume")
    assert code == 0 and "trained already" in said


def test_alone_its_model_says_what_is_missing(moved, tmp_path, monkeypatch):
    monkeypatch.setattr(hub_places, "_seen", {})
    shutil.copyfile(moved / "model.keras", tmp_path / "model.keras")
    in_the_run = moved.with_name("run") / "module"
    with pytest.raises(
        TlkerasError, match=rf"hub-runs.*/module does not exist.* is it in the run, {in_the_run}\..*Run\("
    ):
        keras.saving.load_model(tmp_path / "model.keras")
    with pytest.raises(
        TlkerasError, match=rf"hub-runs.*/module does not exist.* is it in the run, {tmp_path}/module; "
    ):
        predict(tmp_path / "model.keras", [moved / "model.keras"])


def test_where_it_was_saved_its_model_loads_by_itself(moved, tmp_path, monkeypatch):
    """The run stands where it stood when it was saved; the module's own place is gone."""
    monkeypatch.setattr(hub_places, "_seen", {})
    tlkeras.Run(moved).model.save(tmp_path / "model.keras")
    monkeypatch.setattr(hub_places, "_seen", {})
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert loaded.get_layer("module").folder == moved / "module"


def test_a_spec_without_its_module_says_what_is_missing(moved, tmp_path, capsys):
    code, said = say(capsys, "train", "--spec", moved / "spec.toml", "--output", tmp_path / "new")
    assert code == 2 and "Error: the module of the model is not found: " in said and "hub:RUN/module" in said


def test_interrupted_and_without_its_module_a_run_goes_on(moved, hub_module, photo_folder, tmp_path, capsys):
    """The same history and the same weights as in one go."""
    module = shutil.copytree(hub_module("keras2"), tmp_path / "module")
    arguments = ["train", photo_folder, "--backbone", f"hub:{module}", *SETTINGS]
    with pytest.raises(Stopped):
        stop_after_an_epoch(arguments, tmp_path / "stopped")
    shutil.rmtree(module)
    assert say(capsys, *arguments, "--output", tmp_path / "stopped", "--resume")[0] == 0
    whole, stopped = tlkeras.Run(moved), tlkeras.Run(tmp_path / "stopped")
    assert whole.history.history == stopped.history.history
    for mine, theirs in zip(whole.model.weights, stopped.model.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


class Stopped(Exception):
    pass


def stop_after_an_epoch(arguments, output):
    def stop(*_):
        raise Stopped

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keras.callbacks.TensorBoard, "on_epoch_end", stop)
        cli.main([str(argument) for argument in [*arguments, "--output", output]])


def test_a_dry_run_shows_the_stages_and_leaves_nothing(hub_module, photo_folder, tmp_path, capsys):
    code, said = say(
        capsys, "train", photo_folder, "--backbone", f"hub:{hub_module('keras2')}", *SETTINGS[:2], "--dry-run"
    )
    assert code == 0 and "block2" in said and "unknown" not in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--backbone", "hub:no/such/module"], "no/such/module does not exist"),
        (["--backbone", "hub:https://127.0.0.1:9/model"], "is not on this machine"),
        (["--backbone", "hub:{keras2}", "--weights", "random"], "brings its own"),
        (["--backbone", "hub:{tf1}", "--fine-tune", "top:1"], "cannot be trained: it is in the format of TF1"),
        (["--backbone", "hub:{keras2}", "--fine-tune", "top:9"], "top:N takes 1 to 3 stages"),
        (["--backbone", "hub:{keras2}", "--stages", "stem.*,nothing"], "'nothing' has no layer"),
        (["--backbone", "hub:{signature}", "--image-size", "64"], "takes 32 pixels"),
    ],
)
def test_mistakes_are_one_line(hub_module, photo_folder, capsys, arguments, message):
    kinds = {kind: hub_module(kind) for kind in ("keras2", "tf1", "signature")}
    code, said = say(capsys, "train", photo_folder, "--dry-run", *(part.format(**kinds) for part in arguments))
    assert code == 2 and message in said.splitlines()[-1]


def test_tables_and_words_are_in_the_export(hub_module, tmp_path):
    """What a module of strings needs is tracked, and found again without the module."""
    module = HubModule(str(shutil.copytree(hub_module("text"), tmp_path / "module")))
    served = tf.Module()
    served.needs = [module.saved.resources(), [weight.value for weight in module.weights]]
    served.run = tf.function(lambda texts: module(texts), input_signature=[tf.TensorSpec([None], tf.string)])
    texts = tf.constant(["a good film", "bad"])
    expected = module(texts)
    tf.saved_model.save(served, str(tmp_path / "export"))
    shutil.rmtree(tmp_path / "module")
    again = tf.saved_model.load(str(tmp_path / "export"))
    np.testing.assert_array_equal(again.run(texts), expected)


TINY_BERT = """
[[variant]]
name = "tiny_bert"
family = "bert"
task = "text"
source = "hub:bert/encoder"
preprocessor = "hub:bert/prepare"
output_key = "pooled_output"
input_size = 0
features = 6
parameters = 108
stages = []
preprocess = "none"
license = "Apache-2.0"
"""


@pytest.mark.parametrize("kind", [pytest.param("text", marks=pytest.mark.slow), "bert"])
def test_texts_from_training_to_serving(hub_module, tmp_path, kind):
    """In processes of their own, in which nothing was imported before; the modules are gone in the end."""
    module = hub_module(kind).parent if kind == "bert" else hub_module(kind)
    shutil.copytree(module, tmp_path / kind)
    (tmp_path / "card.toml").write_text(TINY_BERT)
    backbone = ["--backbone", f"hub:{kind}"] if kind == "text" else ["--card", "card.toml", "--backbone", "tiny_bert"]
    rows = [f"{word} film {'very ' * i},{word}" for word in ("good", "bad") for i in range(12)]
    (tmp_path / "reviews.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    settings = ["--epochs", "1", "--fine-tune", "top:1", "--fine-tune-epochs", "1", "--output", "run"]
    assert tlkeras_in(tmp_path, "train", "csv:reviews.csv", *backbone, *settings)[0] == 0
    shutil.rmtree(tmp_path / kind)
    for target in ("run", "run/export"):
        code, said = tlkeras_in(tmp_path, "predict", target, "--text", "good film")
        assert code == 0 and "good film" in said


def tlkeras_in(folder, *arguments):
    program = "from tlkeras.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout + done.stderr
