import numpy as np
import pytest
from helpers import make_tiny_model

from tlkeras.errors import TlkerasError
from tlkeras.export import savedmodel
from tlkeras.export.parity import ParityError, check
from tlkeras.export.python_runtime import PythonRuntime


@pytest.fixture(scope="module")
def exported(tiny_model, photos, tmp_path_factory):
    return savedmodel.export(tiny_model, tmp_path_factory.mktemp("export"), photos, proven=False).path


@pytest.fixture(scope="module")
def loaded(exported):
    return PythonRuntime(exported)


def test_an_export_is_as_its_model(exported, loaded, tiny_model, photos):
    found = check(exported, tiny_model, photos, loaded=loaded)
    assert (found.count, found.classes_equal) == (7, True)
    assert found.max_difference < 1e-6


def test_an_altered_weight_is_seen(exported, loaded, photos):
    model = make_tiny_model()
    model.get_layer("logits").bias.assign(0.01 * np.eye(7)[0])
    with pytest.raises(ParityError, match=r"differs from the model by up to 0\.00\d+ on 7 images"):
        check(exported, model, photos, loaded=loaded)
    assert check(exported, model, photos, tolerance=0.01, loaded=loaded).max_difference > 5e-4


def test_a_weight_that_is_no_number_is_seen(exported, loaded, photos):
    model = make_tiny_model()
    model.get_layer("logits").bias.assign([float("nan")] * 7)
    with pytest.raises(ParityError):
        check(exported, model, photos, loaded=loaded)


def test_other_names_are_seen(exported, loaded, photos):
    model = make_tiny_model(["ant", "bee", "cat", "dog", "eel", "fox", "yak"])
    model.get_layer("logits").classes = ["bee", "ant", "cat", "dog", "eel", "fox", "gnu"]
    with pytest.raises(ParityError, match="in the classes that it names"):
        check(exported, model, photos, loaded=loaded)


def test_a_check_needs_files(exported, tiny_model):
    with pytest.raises(TlkerasError, match="one file or more"):
        check(exported, tiny_model, [])
