import keras
import numpy as np
import pytest

from tlkeras.engine.checkpoint import Checkpoint, Progress
from tlkeras.errors import TlkerasError


def small_model():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dropout(0.5)(inputs)))
    model.compile("adam", "mse", jit_compile=False)
    model.optimizer.build(model.trainable_variables)
    return model


def state(model):
    return [keras.ops.convert_to_numpy(v) for v in [*model.variables, *model.optimizer.variables]]


def test_all_of_the_state_comes_back(tmp_path):
    model, progress = small_model(), Progress()
    model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
    progress.add({"epoch": 1, "phase": 1, "val_loss": 0.5})
    checkpoint = Checkpoint(tmp_path)
    checkpoint.begin(model, model)
    checkpoint.save(model, model.optimizer, progress)
    other, checkpoint = small_model(), Checkpoint(tmp_path)
    assert checkpoint.progress() == progress
    checkpoint.restore_model(other)
    checkpoint.restore_optimizer(other)
    for saved, restored in zip(state(model), state(other), strict=True):
        np.testing.assert_array_equal(saved, restored)


def test_the_best_epoch_is_kept(tmp_path):
    model, progress, checkpoint = small_model(), Progress(), Checkpoint(tmp_path)
    checkpoint.begin(model, model)
    kept = {}
    for epoch, loss in enumerate([0.5, 0.3, 0.4, float("nan")], start=1):
        model.fit(np.ones((8, 4)), np.ones((8, 2)), verbose=0)
        kept[epoch] = model.get_weights()
        progress.add({"epoch": epoch, "phase": 1, "val_loss": loss})
        checkpoint.save(model, model.optimizer, progress)
    checkpoint.restore_best(model, progress)
    assert progress.best_epoch == 2 and progress.waited == 2
    np.testing.assert_array_equal(model.get_weights()[0], kept[2][0])
    assert sorted(file.name for file in tmp_path.iterdir()) == ["best-2.npz", "last.npz", "start.npz"]


def test_what_a_later_phase_changed_is_undone_with_it(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Dense(3)(inputs)))
    head = keras.Model(model.layers[1].output, model.output)
    before, checkpoint, progress = model.get_weights(), Checkpoint(tmp_path), Progress()
    checkpoint.begin(model, head)
    head.layers[1].set_weights([before[2] + 1, before[3] + 1])
    progress.add({"epoch": 1, "phase": 1, "val_loss": 0.5})
    checkpoint.save(model, None, progress)
    assert len([name for name in np.load(tmp_path / "best-1.npz").files]) == 2
    checkpoint.begin(model, model)
    model.set_weights([value + 2 for value in model.get_weights()])
    progress.add({"epoch": 2, "phase": 2, "val_loss": 0.9})
    checkpoint.save(model, None, progress)
    checkpoint.restore_best(model, progress)
    for now, expected in zip(model.get_weights(), [*before[:2], before[2] + 1, before[3] + 1], strict=True):
        np.testing.assert_array_equal(now, expected)
    again, later = keras.models.clone_model(model), Checkpoint(tmp_path)
    later.restore_model(again)
    for now, then in zip(again.get_weights(), before, strict=True):
        assert (now != then).all()
    later.restore_best(again, progress)
    np.testing.assert_array_equal(again.get_weights()[0], before[0])


def test_training_that_diverged_says_so(tmp_path):
    with pytest.raises(TlkerasError, match="diverged"):
        Checkpoint(tmp_path).restore_best(small_model(), Progress())


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    model = small_model()
    checkpoint = Checkpoint(tmp_path)
    checkpoint.begin(model, model)
    checkpoint.save(model, model.optimizer, Progress(epochs=[{"epoch": 1, "phase": 1, "val_loss": 1.0}]))
    inputs = keras.Input((5,))
    with pytest.raises(TlkerasError, match="belongs to another model"):
        Checkpoint(tmp_path).restore_model(keras.Model(inputs, keras.layers.Dense(2)(inputs)))


def test_a_new_phase_waits_anew():
    progress = Progress()
    for loss in (0.5, 0.6, 0.7):
        progress.add({"epoch": 1, "phase": 1, "val_loss": loss})
    assert progress.is_patience_over(2) and not progress.is_patience_over(3) and not progress.is_patience_over(0)
    progress.next_phase()
    assert not progress.is_patience_over(2) and progress.epochs_of_phase == 0
