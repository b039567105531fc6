"""Training as a whole, on small images and a network with random weights."""

import shutil

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
    settings = {"epochs": 2, "fine_tune": "top:1", "fine_tune_epochs": 1, "features": "float32"}
    run = tlkeras.train(build(data), data, output=tmp_path / "run", **settings)
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


def test_what_is_set_to_train_trains_and_is_recorded(data, tmp_path):
    model = build(data)
    tlkeras.trainable.plan(model, "stage7_.*").apply(model)
    before = model.get_layer("stage7_block1_project_conv").kernel.numpy()
    run = tlkeras.train(model, data, output=tmp_path / "run", epochs=1)
    assert run.spec.trainable == "stage7_.*"
    assert (model.get_layer("stage7_block1_project_conv").kernel.numpy() != before).any()


def test_layers_set_by_hand_are_not_frozen_silently(data, tmp_path):
    model = build(data)
    model.get_layer("stage7_block1_project_conv").trainable = True
    with pytest.raises(TlkerasError, match="other layers are set to train than those of 'head'"):
        tlkeras.train(model, data, output=tmp_path / "run", epochs=1)
    assert not (tmp_path / "run").exists()


def test_precision_is_decided_where_the_model_is_built(data, tmp_path):
    with pytest.raises(TlkerasError, match="mixed_precision: decided where"):
        tlkeras.train(build(data), data, output=tmp_path / "run", mixed_precision="bfloat16")
    run = tlkeras.train(build(data, mixed_precision="bfloat16"), data, output=tmp_path / "run", epochs=1)
    assert run.spec.mixed_precision == "bfloat16"


@pytest.fixture
def own_data(photo_folder, tmp_path):
    shutil.copytree(photo_folder, tmp_path / "photos")
    return tlkeras.data.load(tmp_path / "photos")


@pytest.mark.parametrize("junk", [None, b"junk"])
def test_an_image_lost_since_the_check_is_named(own_data, tmp_path, monkeypatch, junk):
    # Another test may have kept what the same weights make of the same images, which need not be read then.
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path / "home"))
    run = tlkeras.train(build(own_data), own_data, output=tmp_path / "run", epochs=1, features="off")
    for part, job in (
        ("test", run.evaluate),
        ("val", lambda: tlkeras.train(build(own_data), own_data, output=tmp_path / "other", epochs=1, features="off")),
    ):
        file = own_data.parts[part][0].path
        file.unlink() if junk is None else file.write_bytes(junk)
        with pytest.raises(TlkerasError, match=f"can no longer be read, the first {file}"):
            job()


def test_other_data_may_have_other_columns(data, photo_folder, tmp_path):
    rows = "".join(f"{file},{file.parent.name}\n" for file in sorted(photo_folder.rglob("*.png"))[:9])
    (tmp_path / "table.csv").write_text(f"file,kind\n{rows}")
    run = tlkeras.train(build(data), data, output=tmp_path / "run", epochs=1)
    judged = run.evaluate(f"csv:{tmp_path}/table.csv", path_column="file", label_column="kind")
    assert judged.count == 9
