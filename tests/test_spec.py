import tomllib

import pytest

from tlkeras import spec
from tlkeras.errors import TlkerasError


def test_a_spec_survives_toml():
    made = spec.make({"data": 'photos "of" Zürich\\n', "epochs": 3, "split": [0.5, 0.25, 0.25], "download": True})
    assert spec.make(tomllib.loads(made.to_toml())) == made


def test_later_layers_win():
    assert spec.make({"epochs": 3, "seed": 1}, {"epochs": 4}).epochs == 4


def test_overrides_take_the_type_of_the_setting():
    read = spec.overrides(["epochs=3", "optimizer=sgd", "split=0.8,0.1,0.1", "download=true", "learning_rate=1e-4"])
    assert read == {
        "epochs": 3,
        "optimizer": "sgd",
        "split": [0.8, 0.1, 0.1],
        "download": True,
        "learning_rate": 1e-4,
    }


def test_all_wrong_values_are_named_at_once():
    with pytest.raises(TlkerasError) as caught:
        spec.make({"epochs": 0, "optimizer": "adma", "split": [0.5, 0.5, 0.5], "batch_size": "many"})
    for name in ("epochs", "split", "batch_size"):
        assert f"{name}: legal is" in str(caught.value)
    assert "unknown optimizer. Did you mean 'adam'?" in str(caught.value)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "image_size"])
def test_numbers_that_no_machine_holds_are_refused(name):
    with pytest.raises(TlkerasError, match=f"{name}: legal is a whole number from"):
        spec.make({name: 10**20})


@pytest.mark.parametrize("pairs", [["epohcs=3"], ["epochs"]])
def test_an_override_that_is_none_is_refused(pairs):
    with pytest.raises(TlkerasError, match=r"epochs|key=value"):
        spec.overrides(pairs)


@pytest.mark.parametrize("trainable", ["", " ", "top:", "top:0", "top:-1", "top:two"])
def test_trainable_is_checked(trainable):
    with pytest.raises(TlkerasError, match="trainable: legal is head, all, top:N"):
        spec.make({"trainable": trainable})


def test_one_setting_is_enough_for_a_second_phase():
    assert spec.make({"fine_tune": "all"}).fine_tune_epochs == 5
    assert spec.make({"fine_tune_epochs": 2}).fine_tune == "top:2"


@pytest.mark.parametrize("text", ["epochs = ", "epohcs = 3"])
def test_a_bad_file_is_cited(tmp_path, text):
    (tmp_path / "spec.toml").write_text(text)
    with pytest.raises(TlkerasError, match=r"spec\.toml"):
        spec.read(tmp_path / "spec.toml")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(TlkerasError, match=r"not found: .*none\.toml"):
        spec.read(tmp_path / "none.toml")
