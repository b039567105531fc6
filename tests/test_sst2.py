"""The figures that the README states for texts, through the command line."""

import json

import pytest

from tlkeras.cli import main

pytest.importorskip("tensorflow_text", reason="needs the extra text")
pytest.importorskip("keras_hub", reason="needs the extra text")

COLUMNS = ["--text-column", "1", "--label-column", "2"]
TUNED = ["--epochs=2", "--fine-tune=all", "--fine-tune-epochs=3", "--fine-tune-learning-rate=3e-5"]


@pytest.mark.slow
@pytest.mark.parametrize(("settings", "least"), [([], 0.79), (["--solver=sgd"], 0.80), (TUNED, 0.86)])
def test_sentiment_of_sentences(sst2, settings, least, tmp_path):
    data = [f"tsv:{sst2 / 'train.tsv'}", *COLUMNS, "--split=0.9,0.05,0.05"]
    train = ["train", *data, "--backbone=minilm_l6", *settings]
    main([*train, "--output", str(tmp_path / "run")])
    main(["evaluate", str(tmp_path / "run"), f"tsv:{sst2 / 'dev.tsv'}", *COLUMNS])
    (metrics,) = (tmp_path / "run").glob("metrics-*.json")
    assert json.loads(metrics.read_text())["accuracy"]["value"] >= least
