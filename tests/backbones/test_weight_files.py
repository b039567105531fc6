import zipfile

import h5py
import keras
import numpy as np
import pytest

import tlkeras
from tlkeras import zoo
from tlkeras.backbones import check, load
from tlkeras.errors import TlkerasError
from tlkeras.heads import classify

LITE0, LITE2, CONVNEXT, MOBILENET = (
    zoo.card(name) for name in ("efficientnet_lite0", "efficientnet_lite2", "convnext_tiny", "mobilenet_v2")
)


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


@pytest.fixture
def lite0_file(backbone, tmp_path):
    backbone("efficientnet_lite0").model.save_weights(tmp_path / "lite0.weights.h5")
    return tmp_path / "lite0.weights.h5"


def test_mismatches_come_in_one_message(lite0_file):
    with pytest.raises(TlkerasError) as error:
        load(LITE2, lite0_file, 32)
    first, *listed, last = str(error.value).splitlines()
    assert first.endswith("do not fit 'efficientnet_lite2' in 105 of 128 layers:") and "--partial takes" in last
    assert len(listed) == 105
    assert "  stage2_block3_expand_conv needs (1, 1, 24, 144), the file has nothing" in listed


def test_partial_copies_what_fits_by_name_and_shape(backbone, lite0_file):
    trained, taken = backbone("efficientnet_lite0").model, load(LITE2, lite0_file, 32, partial=True)
    assert len(taken.loaded.copied) == 23 and len(taken.loaded.left) == 105
    assert {*taken.loaded.copied, *taken.loaded.left} == {layer.name for layer in taken.model.layers if layer.weights}
    for name in taken.loaded.copied:
        assert same_weights(taken.model.get_layer(name), trained.get_layer(name))
    assert taken.loaded.left["stage2_block3_expand_conv"] == "needs (1, 1, 24, 144), the file has nothing"
    assert taken.model.get_layer("stage3_block1_project_conv").kernel.numpy().std() > 0


def test_partial_says_all_that_it_did(lite0_file):
    loaded = load(LITE2, lite0_file, 32, partial=True).loaded
    copied, left, *reasons = str(loaded).splitlines()
    assert copied == f"weights {lite0_file}: copied 23 of 128 layers: {', '.join(loaded.copied)}"
    assert left == "left as they were, 105 layers:" and len(reasons) == 105
    assert "  stage2_block3_expand_conv needs (1, 1, 24, 144), the file has nothing" in reasons


def test_partial_of_another_width(tmp_path):
    keras.applications.MobileNetV2(alpha=0.5, weights=None, input_shape=(32, 32, 3)).save(tmp_path / "half.h5")
    assert set(load(MOBILENET, tmp_path / "half.h5", 32, partial=True).loaded.copied) == {"Conv_1_bn"}


@pytest.mark.parametrize("name", ["m.h5", "m.keras", "m.weights.h5"])
def test_backbone_inside_another_model(tmp_path, name):
    inner = keras.applications.MobileNetV2(include_top=False, weights=None, input_shape=(32, 32, 3))
    whole = keras.Sequential([keras.Input((32, 32, 3)), inner, keras.layers.Flatten(), keras.layers.Dense(2)])
    (whole.save_weights if name == "m.weights.h5" else whole.save)(tmp_path / name)
    taken = load(MOBILENET, tmp_path / name, 32)
    assert same_weights(taken.model, inner) and not taken.loaded.left


def test_partial_of_a_file_where_nothing_fits(lite0_file):
    with pytest.raises(TlkerasError, match=r"nothing in .*lite0.weights.h5 fits 'mobilenet_v2' .*:\n  Conv1 needs "):
        load(MOBILENET, lite0_file, 32, partial=True)


@pytest.mark.parametrize("weights", ["imagenet", "random"])
def test_partial_without_a_file(weights):
    with pytest.raises(TlkerasError, match=f"partial: needs a file of weights. Received: weights '{weights}'"):
        load(MOBILENET, weights, 32, partial=True)


def test_build_tells_what_was_taken(lite0_file):
    told = []
    tlkeras.build(LITE2, classes=["a", "b"], image_size=32, weights=lite0_file, partial=True, on_load=told.append)
    assert [len(loaded.copied) for loaded in told] == [23]


@pytest.mark.parametrize("partial", [False, True])
@pytest.mark.parametrize("content", [b"", b"no weights at all"])
@pytest.mark.parametrize("name", ["broken.h5", "broken.weights.h5", "broken.keras", "broken.pth", "broken.txt"])
def test_file_that_is_none_of_them(tmp_path, name, content, partial):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TlkerasError, match=name):
        load(LITE0, tmp_path / name, 32, partial=partial)


def test_folder(tmp_path):
    with pytest.raises(TlkerasError, match=r"or a file .* Received: "):
        load(LITE0, tmp_path, 32)


def test_pth_is_for_efficientnet_lite(tmp_path):
    (tmp_path / "m.pth").touch()
    with pytest.raises(TlkerasError, match="EfficientNet-Lite only"):
        load(MOBILENET, tmp_path / "m.pth", 32)


def test_missing_file():
    with pytest.raises(TlkerasError, match=r"'imagenet', 'random' or a file .* Received: 'imagenett'"):
        load(LITE0, "imagenett", 32)


def changed(path, change):
    """Replaces the dataset of the kernel `stem_conv` in the file, by a function of its group."""
    with h5py.File(path, "r+") as file:
        found = []
        file.visititems(lambda _, item: found.append(item) if item.attrs.get("name") == "stem_conv" else None)
        del found[0]["0"]
        change(found[0])
    return path


OUTSIDE = {
    "is a link to another file": lambda g: g.update({"0": h5py.ExternalLink("other.h5", "/0")}),
    "has its values in another file": lambda g: g.create_dataset(
        "0", (3, 3, 3, 32), "f4", external=[("/etc/passwd", 0, 3456)]
    ),
    "has its values in another file ": lambda g: g.create_virtual_dataset("0", h5py.VirtualLayout((3, 3, 3, 32), "f4")),
    "is packed in chunks larger than itself": lambda g: g.create_dataset(
        "0", (3, 3, 3, 32), "f4", maxshape=(None,) * 4, chunks=(2**18, 3, 3, 32)
    ),
}


@pytest.mark.parametrize("message", OUTSIDE)
def test_values_from_outside_the_file(lite0_file, message):
    changed(lite0_file, OUTSIDE[message])
    with pytest.raises(TlkerasError, match=rf"lite0.weights.h5 refused: '.*/vars/0' {message.strip()}"):
        load(LITE0, lite0_file, 32, partial=True)


def test_values_from_outside_a_keras_file(lite0_file, tmp_path):
    changed(lite0_file, OUTSIDE["is a link to another file"])
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.write(lite0_file, "model.weights.h5")
    with pytest.raises(TlkerasError, match=r"m.keras refused: '.*/vars/0' is a link to another file"):
        load(LITE0, tmp_path / "m.keras", 32)


def test_links_within_the_file(backbone, lite0_file):
    def move(group):
        group.file["elsewhere"] = backbone("efficientnet_lite0").model.get_layer("stem_conv").kernel.numpy()
        group["0"] = h5py.SoftLink("/elsewhere")
        group["circle"] = group.file["/"]
        del group["circle"]
        group.file["circle"] = group.file["/"]

    assert same_weights(load(LITE0, changed(lite0_file, move), 32).model, backbone("efficientnet_lite0").model)


@pytest.mark.parametrize(
    ("dtype", "name"), [(h5py.string_dtype(), "object"), ("c8", "complex64"), ("i4", "int32"), ("S3", "bytes24")]
)
def test_values_that_are_no_floats(lite0_file, dtype, name):
    changed(lite0_file, lambda group: group.create_dataset("0", (3, 3, 3, 32), dtype))
    said = rf"stem_conv needs \(3, 3, 3, 32\), the file has \(3, 3, 3, 32\) of {name}"
    with pytest.raises(TlkerasError, match=rf"in 1 of 98 layers:\n  {said}\n"):
        load(LITE0, lite0_file, 32)
    assert "stem_conv" in load(LITE0, lite0_file, 32, partial=True).loaded.left


@pytest.mark.parametrize(("value", "partial"), [(np.nan, False), (np.inf, True), (-1e39, False)])
def test_values_that_are_not_finite(lite0_file, value, partial):
    changed(lite0_file, lambda group: group.update({"0": np.full((3, 3, 3, 32), value)}))
    with pytest.raises(TlkerasError, match=r"lite0.weights.h5 are damaged: .* in layers stem_conv$"):
        load(LITE0, lite0_file, 32, partial=partial)


def test_group_in_the_place_of_values(lite0_file):
    with pytest.raises(TlkerasError, match=r"lite0.weights.h5 cannot be read"):
        load(LITE0, changed(lite0_file, lambda group: group.create_group("0")), 32)


def test_suffix_counts(lite0_file):
    with pytest.raises(TlkerasError, match=r"or a file \(.keras, .weights.h5, .h5, .pth\). Received: .*lite0.bin"):
        load(LITE0, lite0_file.rename(lite0_file.with_name("lite0.bin")), 32)


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "efficientnet_b0", "efficientnet_lite0"])
def test_card_of_ones_own_weights(backbone, tmp_path, name):
    trained = backbone(name).model
    trained.save_weights(tmp_path / "mine.weights.h5")
    text = f'[[variant]]\nname = "mine"\nextends = "{name}"\nsource = "file:mine.weights.h5"\n'
    (tmp_path / "mine.toml").write_text(text)
    card = zoo.card("mine", tmp_path / "mine.toml")
    assert same_weights(load(card, image_size=32).model, trained)
    check(card)
    (tmp_path / "mine.weights.h5").write_bytes(b"damaged")
    with pytest.raises(TlkerasError, match=r"mine.weights.h5 of 'mine' are no .h5 file"):
        load(card, image_size=32)


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


def test_a_pth_of_another_network_is_named(fetched):
    path = fetched(LITE0)
    with pytest.raises(TlkerasError, match=f"{path.name} do not fit 'efficientnet_lite1' in 97 of 128 layers"):
        load(zoo.card("efficientnet_lite1"), path, 32)
