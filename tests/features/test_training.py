"""Training on stored features against training on images."""

import shutil

import keras
import numpy as np
import pytest

import tlkeras
from tlkeras import leaving
from tlkeras.engine import train as engine
from tlkeras.engine.callbacks import KeepEpoch
from tlkeras.engine.checkpoint import Checkpoint
from tlkeras.errors import TlkerasError, TryAgain
from tlkeras.features import engines
from tlkeras.features.folders import all_stores


@pytest.fixture(scope="module")
def data(photo_folder):
    return tlkeras.data.load(str(photo_folder))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TLKERAS_HOME", str(tmp_path / "home"))


def train(data, output, settings=(), **recipe):
    engine.make_deterministic(0)
    model = alive(tlkeras.build(classes=data.classes, weights="random", image_size=32, **recipe))
    given = {"epochs": 2, "solver": "sgd", "engine": "tensorflow", **dict(settings)}
    return tlkeras.train(model, data, output=output, **given)


def alive(model):
    """Keeps what the layers of a network with random weights give from fading."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(keras.ops.full_like(layer.moving_variance, 0.1))
    return model


def weights(run):
    return [np.asarray(value, np.float64) for value in run.model.get_weights()]


@pytest.mark.parametrize("plan", ["head", "top:1", "top:2", "stage6_block4_project_conv"])
def test_the_weights_are_those_of_training_on_images(data, tmp_path, plan):
    settings = {"optimizer": "sgd", "learning_rate": 1e-3}
    plain = train(data, tmp_path / "plain", {**settings, "features": "off"}, trainable=plan)
    stored = train(data, tmp_path / "stored", {**settings, "features": "float32"}, trainable=plan)
    assert all_stores()
    for ours, theirs in zip(weights(stored), weights(plain), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5 * max(1.0, np.abs(theirs).max()))
    for name, values in plain.history.history.items():
        np.testing.assert_allclose(stored.history.history[name], values, rtol=1e-4, err_msg=name)


def test_a_second_run_computes_nothing(data, tmp_path, capsys):
    train(data, tmp_path / "first").evaluate()
    capsys.readouterr()
    train(data, tmp_path / "second", {"learning_rate": 1e-2}, dropout=0.5).evaluate()
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("features")]
    assert len(told) == 2 and all("computed before" in line and " on " not in line for line in told)


def test_two_more_images_are_two_more_passes(photo_folder, tmp_path, capsys):
    for part, numbers in (("train", range(6)), ("val", range(6, 8)), ("test", range(8, 10))):
        for kind in photo_folder.iterdir():
            files = sorted(kind.iterdir())
            (tmp_path / "photos" / part / kind.name).mkdir(parents=True)
            for number in numbers:
                shutil.copy(files[number], tmp_path / "photos" / part / kind.name)
    learnt = sorted((tmp_path / "photos" / "train").rglob("*.png"))
    aside = [(path, path.read_bytes()) for path in learnt[:2]]
    for path, _ in aside:
        path.unlink()
    train(tlkeras.data.load(str(tmp_path / "photos")), tmp_path / "first")
    assert f"features: {len(learnt) + 4} computed on tensorflow" in capsys.readouterr().out
    for path, content in aside:
        path.write_bytes(content)
    train(tlkeras.data.load(str(tmp_path / "photos")), tmp_path / "second")
    told = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("features"))
    assert told.startswith("features: 2 computed on ") and told.endswith(f", {len(learnt) + 4} before")


def test_the_exact_features_judge_as_the_model_does(data, tmp_path):
    run = train(data, tmp_path / "run", trainable="top:1")
    stored = run.evaluate()
    plain = tlkeras.Run(tmp_path / "run")
    plain.spec = tlkeras.RunSpec(**{**vars(run.spec), "features": "off"})
    np.testing.assert_allclose(stored.probabilities, plain.evaluate().probabilities, atol=1e-5)


def test_a_linear_head_is_solved(data, tmp_path):
    run = train(data, tmp_path / "run", {"solver": "lbfgs"})
    history = run.history.history
    assert len(history["loss"]) == 1 and history["accuracy"][0] == 1.0
    exact = run.model.predict(tlkeras.data.pipeline.input_set(data.parts["val"], 32, 32), verbose=0)
    labels = np.array([data.classes.index(example.label) for example in data.parts["val"]])
    loss = keras.losses.sparse_categorical_crossentropy(labels, exact, from_logits=True)
    assert np.mean(loss) == pytest.approx(history["val_loss"][0], rel=1e-2)


def test_a_solver_for_what_is_not_linear_is_refused(data, tmp_path):
    with pytest.raises(TlkerasError, match="lbfgs solves a linear head: it needs trainable head"):
        train(data, tmp_path / "run", {"solver": "lbfgs"}, trainable="top:1")


def test_a_solved_head_is_fine_tuned(data, tmp_path):
    settings = {"solver": "lbfgs", "fine_tune": "top:1", "fine_tune_epochs": 2}
    run = train(data, tmp_path / "run", settings)
    assert [row["phase"] for row in run.folder.read_history()] == [1, 2, 2]


@pytest.mark.parametrize("memory", ["", "1KB"])
def test_views_and_mixup(data, tmp_path, memory):
    model = alive(tlkeras.build(classes=data.classes, weights="random", image_size=32))
    settings = {"augment": "light", "views": 3, "mixup": 0.4, "epochs": 2}
    run = tlkeras.train(model, data, output=tmp_path / "run", cache_memory=memory, **settings)
    assert len(run.history.history["loss"]) == 2
    rows = sum(store.rows() for store in all_stores())
    assert rows == 3 * len(data.parts["train"]) + len(data.parts["val"])


def test_mixup_needs_features(data, tmp_path):
    with pytest.raises(
        TlkerasError, match="mixup: mixes the features of a frozen part, and features are off, or nothing is frozen"
    ):
        train(data, tmp_path / "run", {"mixup": 0.2}, trainable="all")


def test_what_has_no_room_runs_in_each_epoch(data, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TLKERAS_CACHE_LIMIT", "1KB")
    train(data, tmp_path / "run")
    assert "the whole model runs in each epoch: the features would take" in capsys.readouterr().out


def test_without_a_place_for_features_the_model_runs_in_each_epoch(data, tmp_path, capsys):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "features").write_text("in the way")
    train(data, tmp_path / "run").evaluate()
    assert "the whole model runs in each epoch: features cannot be kept in" in capsys.readouterr().out
    assert (tmp_path / "home" / "features").read_text() == "in the way"


def test_an_extraction_that_is_told_to_leave_keeps_what_it_has(data, tmp_path, monkeypatch, capsys):
    compute = engines.Forward.__call__

    def told(forward, batch):
        leaving.ask()
        return compute(forward, batch)

    monkeypatch.setattr(engines, "BATCH", 4)
    with monkeypatch.context() as patched, pytest.raises(TryAgain):
        patched.setattr(engines.Forward, "__call__", told)
        train(data, tmp_path / "run")
    (store,) = all_stores()
    assert store.rows() == 4
    train(data, tmp_path / "run", {"resume": True})
    assert ", 4 before" in capsys.readouterr().out


def test_what_was_begun_with_steps_is_not_solved_afterwards(data, tmp_path, monkeypatch):
    """The way depends on the room in the cache and on the devices, which a continued run may find otherwise."""
    settings = {"solver": "auto", "epochs": 10}
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setenv("TLKERAS_CACHE_LIMIT", "1KB")
        patched.setattr(KeepEpoch, "on_epoch_end", _interrupted_after(2, KeepEpoch.on_epoch_end))
        train(data, tmp_path / "run", settings)
    assert len(train(data, tmp_path / "run", {**settings, "resume": True}).history.epoch) == 10


def _interrupted_after(epochs, method):
    def end(self, epoch, logs=None):
        method(self, epoch, logs)
        if epoch + 1 == epochs:
            raise KeyboardInterrupt

    return end


def test_what_was_solved_is_not_trained_further(data, tmp_path, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(Checkpoint, "restore_best", _interrupt)
        train(data, tmp_path / "run", {"solver": "auto", "epochs": 10})
    monkeypatch.setenv("TLKERAS_CACHE_LIMIT", "1KB")
    run = train(data, tmp_path / "run", {"solver": "auto", "epochs": 10, "resume": True})
    assert len(run.history.epoch) == 1


def _interrupt(*_):
    raise KeyboardInterrupt


def test_a_solution_cannot_be_had_without_memory_or_features(data, tmp_path, monkeypatch):
    with pytest.raises(TlkerasError, match="the features do not fit into memory; take sgd"):
        train(data, tmp_path / "small", {"solver": "lbfgs", "cache_memory": "1B"})
    monkeypatch.setenv("TLKERAS_CACHE_LIMIT", "1KB")
    with pytest.raises(TlkerasError, match=r"lbfgs solves .* the features would take"):
        train(data, tmp_path / "none", {"solver": "lbfgs"})


def test_an_engine_that_cannot_have_computed_the_rows_is_not_believed(data, tmp_path, capsys):
    for told in ('{"name": "nonsense"}', '{"name": "tensorflow", "precision": "int8"}', "null"):
        train(data, tmp_path / "first", {"epochs": 1})
        (store,) = all_stores()
        (store.path / "engine.json").write_text(told)
        for path in store.path.glob("*.rows"):
            path.unlink()
        capsys.readouterr()
        train(data, tmp_path / "second", {"epochs": 1})
        assert "against TensorFlow" in capsys.readouterr().out
        shutil.rmtree(tmp_path / "first")
        shutil.rmtree(tmp_path / "second")
