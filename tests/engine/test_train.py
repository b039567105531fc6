"""Training as a whole, on small images and a network with random weights."""

import pytest

import tlkeras
from tlkeras.engine import train
from tlkeras.errors import TlkerasError
from tlkeras.spec import RunSpec


@pytest.fixture(scope="module")
def data(photo_folder):
    return tlkeras.data.load(str(photo_folder))


def build(data, **settings):
    return tlkeras.build(classes=data.classes, weights="random", image_size=32, **settings)


def test_two_phases_end_with_the_best_epoch(data, tmp_path):
    run = tlkeras.train(build(data), data, output=tmp_path / "run", epochs=2, fine_tune="top:1", fine_tune_epochs=1)
    history = run.history
    assert history.epoch == [0, 1, 2]
    assert set(history.history) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    judged = run.model.evaluate(
        tlkeras.data.pipeline.evaluation_set(data.parts["val"], data.classes, 32, 32), verbose=0
    )
    assert judged[0] == pytest.approx(min(history.history["val_loss"]), rel=1e-4)


def test_early_stopping_ends_a_phase(data, tmp_path):
    run = tlkeras.train(build(data), data, output=tmp_path / "run", epochs=20, learning_rate=10.0, early_stopping=1)
    assert len(run.history.epoch) < 20


def test_what_was_decided_before_is_not_a_setting_of_training(data, tmp_path):
    with pytest.raises(TlkerasError, match="seed, trainable: decided where"):
        tlkeras.train(build(data), data, output=tmp_path / "run", trainable="all", seed=1)


def test_the_model_must_have_the_classes_of_the_data(data, tmp_path):
    model = tlkeras.build(classes=["a", "b"], weights="random", image_size=32)
    with pytest.raises(TlkerasError, match="other classes than the data"):
        tlkeras.train(model, data, output=tmp_path / "run")


def test_rare_classes_weigh_more(data):
    weights = train.class_weights(data)
    assert weights == pytest.approx({0: 1.0, 1: 1.0, 2: 1.0})
    data.parts["train"].pop()
    assert train.class_weights(data)[2] > 1.0


def test_the_phases_of_a_spec():
    first, second = train.phases(RunSpec(epochs=3, fine_tune="all", fine_tune_epochs=2))
    assert (first.trainable, first.epochs, second.trainable, second.epochs) == ("head", 3, "all", 2)
    assert second.learning_rate < first.learning_rate
