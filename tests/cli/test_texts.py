"""The commands for texts as a user types them, on a tiny encoder of one's own."""

import csv
import json
import subprocess
import sys

import keras
import pytest
import tensorflow as tf
from helpers import write_sentence_encoder
from rich.console import Console

import tlkeras
from tlkeras.cli import main

pytest.importorskip("tensorflow_text", reason="needs the extra text")
pytest.importorskip("keras_hub", reason="needs the extra text")

CARD = """
family = "minilm"
task = "text"
license = "Apache-2.0"
preprocess = "none"
[[variant]]
name = "tiny_bert"
source = "file:tiny.zip"
input_size = 12
features = 8
parameters = 1080
stages = ["embeddings_.*|wordpieces", "layer1|mean_of_tokens"]
"""
PROGRAM = "from tlkeras.cli import main; main()"
COLUMNS = ["--text-column", "sentence", "--label-column", "mood"]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a card, its archive, and a table of reviews, two rows of which cannot be used."""
    folder = tmp_path_factory.mktemp("texts")
    (folder / "zoo").mkdir()
    (folder / "zoo" / "tiny.toml").write_text(CARD)
    write_sentence_encoder(folder / "tiny.zip")
    with (folder / "reviews.csv").open("w", newline="") as file:
        rows = [[f'a {mood} film, "{i}"\nsaid {chr(97 + i)}', mood] for i in range(24) for mood in ("good", "bad")]
        csv.writer(file).writerows([["sentence", "mood"], *rows, ["", "good"], ["no label", ""]])
    (folder / "dev.tsv").write_text("good good\tgood\nbad film\tbad\n")
    (folder / "one.txt").write_text("a good film")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TLKERAS_ZOO", str(folder / "zoo"))
        yield folder


def arguments(place, output, *more):
    weights = ["--backbone", "tiny_bert", "--weights", place / "tiny.zip", "--output", place / output]
    return [str(a) for a in ("train", f"csv:{place / 'reviews.csv'}", *COLUMNS, *weights, *more)]


@pytest.fixture(scope="module")
def finished(place):
    main(arguments(place, "run", "--epochs", "2", "--fine-tune", "top:1", "--fine-tune-epochs", "1", "--seed", "3"))
    return place / "run"


def printed(capsys, *arguments):
    capsys.readouterr()
    main([str(argument) for argument in arguments])
    return capsys.readouterr().out


def test_a_run_leaves_everything(finished):
    rows = (finished / "excluded.csv").read_text().splitlines()
    assert rows == ["path,reason", "reviews.csv:99,no label", "reviews.csv:98,empty: no text"]
    assert "reviews.csv:2,good," in (finished / "split.csv").read_text()
    assert "test texts of 2 classes" in (finished / "report.html").read_text()
    about = json.loads((finished / "export" / "1" / "assets.extra" / "model.json").read_text())
    assert about["needs"] == ["tensorflow_text"] and about["parity"]["classes_equal"]


def test_evaluate_takes_a_table_of_another_form(finished, place, capsys):
    options = ["--text-column", "1", "--label-column", "2"]
    assert "2 examples, 2 classes" in printed(capsys, "evaluate", finished, f"tsv:{place / 'dev.tsv'}", *options)
    again = json.loads((finished / "metrics.json").read_text())
    printed(capsys, "evaluate", finished)
    assert json.loads((finished / "metrics.json").read_text()) == again


def test_run_and_export_predict_the_same(finished, place, capsys):
    asked = [place / "one.txt", "--text", "a bad film", "--json"]
    run, export = (printed(capsys, "predict", target, *asked) for target in (finished, finished / "export"))
    run, export = ([json.loads(line) for line in lines.splitlines()] for lines in (run, export))
    assert [one.get("file", one.get("text")) for one in run] == [str(place / "one.txt"), "a bad film"]
    for mine, theirs in zip(run, export, strict=True):
        assert mine["classes"] == theirs["classes"] and mine["scores"] == pytest.approx(theirs["scores"], abs=1e-5)


def test_predict_reads_lines(finished):
    command = [
        sys.executable,
        "-c",
        "from tlkeras.cli import main; main()",
        "predict",
        finished / "export",
        "-",
        "--json",
    ]
    done = subprocess.run(command, input="a good film\n\nbad é\n".encode(), capture_output=True, check=False)
    found = [json.loads(line) for line in done.stdout.decode().splitlines()]
    assert done.returncode == 2 and [one["text"] for one in found] == ["a good film", "", "bad é"]
    assert [one["error"] for one in found] == [None, "empty: no text", None]


def test_an_export_answers_strings_of_any_number(finished):
    signatures = tf.saved_model.load(str(finished / "export" / "1")).signatures
    for texts in ([], [""], ["good film", b"\xff\xfe", "a" * 5000]):
        answer = signatures["serving_default"](text=tf.constant(texts, tf.string))
        assert answer["classes"].shape == answer["scores"].shape == (len(texts), 2)
        assert signatures["features"](text=tf.constant(texts, tf.string))["features"].shape == (len(texts), 8)


class Stopping(Console):
    """A terminal that goes away after the second epoch."""

    def print(self, *texts, **options):
        if str(texts[0]).startswith("epoch 2/"):
            raise KeyboardInterrupt


def test_python_says_the_same_and_a_stopped_run_ends_the_same(finished, place):
    data = tlkeras.data.load(
        f"csv:{place / 'reviews.csv'}", "text", seed=3, text_column="sentence", label_column="mood"
    )
    keras.utils.set_random_seed(3)
    model = tlkeras.build("tiny_bert", classes=data.classes, weights=str(place / "tiny.zip"))
    again = {"epochs": 2, "fine_tune": "top:1", "fine_tune_epochs": 1, "output": place / "stopped"}
    with pytest.raises(KeyboardInterrupt):
        tlkeras.train(model, data, console=Stopping(), **again)
    run = tlkeras.train(model, data, resume=True, **again)
    for name in ("history.csv", "split.csv", "spec.toml"):
        assert (place / "stopped" / name).read_bytes() == (finished / name).read_bytes()
    assert run.evaluate().count == len(data.parts["test"])


def test_a_model_of_texts_takes_no_images(place, tmp_path):
    model = tlkeras.build("tiny_bert", classes=list("0123456789"), weights=str(place / "tiny.zip"))
    with pytest.raises(tlkeras.TlkerasError, match="the model takes texts, the data is one of images"):
        tlkeras.train(model, tlkeras.data.load("digits"), output=tmp_path / "run")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["--augment", "light", "--image-size", "64"], "image_size = 64, augment = 'light': only for images"),
        (["--pooling", "max"], "pooling = 'max': only for images, and 'tiny_bert' takes texts"),
        (["--text-column", "review"], "no column 'review'"),
        (["--text-column", "1"], "both as numbers, or both by name"),
        (["--backbone", "efficientnet_lite0", "--weights", "random"], "choose a text backbone"),
        (["--data", "digits"], "two data sources named"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(command, message, place, capsys):
    with pytest.raises(SystemExit) as left:
        main(arguments(place, "new", *command))
    told = capsys.readouterr().err
    assert left.value.code == 2 and message in told and len(told.strip().splitlines()) == 1
    assert not (place / "new").exists()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (["a good film"], "there is no file a good film; a text is given with --text"),
        ([], "no files to predict: name .txt files, or texts with --text"),
    ],
)
def test_predict_says_how_texts_are_given(asked, message, finished, capsys):
    with pytest.raises(SystemExit):
        main(["predict", str(finished / "export"), *asked])
    assert message in capsys.readouterr().err


def test_what_is_no_text_is_not_answered(finished, tmp_path, capsys):
    (tmp_path / "bad.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SystemExit):
        main(["predict", str(finished / "export"), str(tmp_path)])
    assert "not answered: no text: it has a NUL byte" in capsys.readouterr().out


def test_pixels_are_not_of_texts(finished, capsys):
    with pytest.raises(SystemExit):
        main(["export", str(finished), "--max-pixels", "1000"])
    assert "max_pixels is for images, and the run is of texts. Received: 1,000" in capsys.readouterr().err
    about = json.loads((finished / "export" / "1" / "assets.extra" / "model.json").read_text())
    assert "max_pixels" not in about["serving"]


def test_texts_are_pruned_and_written_for_keras(finished, capsys):
    said = printed(capsys, "export", finished, "--format", "keras", "--sparsity", "0.5", "--force")
    assert "zeros: 50.0% of the pruned kernels" in said and "model-sparse50.keras" in said
    with pytest.raises(SystemExit):
        main(["export", str(finished), "--format", "tflite"])
    assert "format tflite has no operations for the tokenizer of a model of texts" in capsys.readouterr().err
