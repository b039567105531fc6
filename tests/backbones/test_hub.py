import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf
from hub_modules import FEATURES, SIZE, WORDS, pictures

import tlkeras
from tlkeras import backbones, trainable
from tlkeras.errors import TlkerasError, TlkerasWarning
from tlkeras.zoo import Card


@pytest.fixture
def handle(hub_module):
    return lambda kind: f"hub:{hub_module(kind)}"


@pytest.fixture
def bert(handle):
    source = handle("bert")
    return Card.from_dict(
        {
            "name": "small_bert",
            "family": "bert",
            "source": source,
            "preprocessor": source.replace("encoder", "prepare"),
            "task": "text",
            "input_size": 0,
            "features": FEATURES,
            "parameters": 4 * (4 + len(WORDS)) + 3 * 16 + 4 * FEATURES,
            "preprocess": "none",
            "stages": [],
            "output_key": "pooled_output",
            "license": "Apache-2.0",
        }
    )


def images_model(handle, **options):
    return tlkeras.build(handle, classes=["a", "b"], image_size=SIZE, **options)


def fit_one_step(model, inputs):
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True), jit_compile=False)
    model.fit(inputs, np.array([0, 1, 0, 1]), verbose=0)


def test_a_handle_alone_makes_a_card(handle):
    card = backbones.find(handle("keras2"))
    assert (card.name, card.task, card.preprocess, card.input_size) == ("keras2", "image", "unit", 224)
    assert (card.features, card.license, card.source) == (FEATURES, "unknown", handle("keras2"))
    assert [stage.name for stage in backbones.load(card, image_size=SIZE).stages] == ["stem_conv", "block1", "block2"]
    assert Card.from_dict(card.to_dict()) == card
    assert backbones.find(handle("signature")).input_size == SIZE
    assert backbones.find(handle("text")).task == "text"


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://tfhub.dev/google/imagenet/resnet_50/feature_vector/5", "resnet_50_feature_vector_5"),
        ("/home/me/my models/a b.tar.gz", "a_b"),
        ("/models/flowers/1", "flowers_1"),
        ("https://x.example/", "module"),
    ],
)
def test_a_handle_makes_a_name(address, name):
    assert backbones.hub._word(address) == name


def test_images_come_as_0_to_255(handle, hub_module):
    backbone = backbones.load(backbones.find(handle("keras2")), image_size=SIZE)
    expected = tf.saved_model.load(str(hub_module("keras2")))(pictures() / 255)
    np.testing.assert_allclose(backbone.model(pictures()), expected, atol=1e-6)
    assert [layer.name for layer in backbone.model.layers] == ["image", "preprocess", "module"]


@pytest.mark.parametrize("choice", ["head", "top:1", "top:2", "all", "block1", "stem_conv,block2.*conv"])
def test_what_should_move_moves_and_the_rest_is_bit_identical(handle, choice):
    model = images_model(handle("keras2"), trainable=choice)
    plan = trainable.plan(model, choice)
    before = {(u.name, w.name): w.numpy() for u in model.get_layer("module").units for w in u.weights}
    assert plan.is_applied(model)
    assert sum(stage.trained_parameters for stage in plan.stages) == sum(
        int(np.prod(v.shape)) for v in model.trainable_weights
    )
    fit_one_step(model, pictures())
    units = model.get_layer("module").units
    moved = {u.name for u in units for w in u.weights if not np.array_equal(w, before[u.name, w.name])}
    assert moved == plan.trained_layers - {"dropout", "logits"} and not any(name.endswith("bn") for name in moved)


def test_stages_can_be_given(handle):
    patterns = ["stem.*", "block.*"]
    model = images_model(handle("keras2"), stages=patterns, trainable="top:1")
    assert [stage.name for stage in trainable.stages_with_head(model)] == ["stem", "block", "head"]
    assert trainable.recipe(model)["stages"] == patterns
    assert images_model(handle("counted"), stages=["stage1.*", "stage2.*"], trainable="all").count_params() == 26
    with pytest.raises(TlkerasError, match="'stem_conv' is in no stage; layer 'stem_bn' is in no stage"):
        images_model(handle("keras2"), stages=["block.*"])
    with pytest.raises(TlkerasError, match="not in the order"):
        images_model(handle("keras2"), stages=patterns[::-1])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"output_key": "default"}, "gives one tensor"),
        ({"task": "text"}, "takes 'one tensor'|the module"),
        ({"arguments": {"scale": 1.0}}, "unknown argument"),
    ],
)
def test_a_card_that_does_not_fit_is_refused(handle, changes, message):
    card = dataclasses.replace(backbones.find(handle("keras2"), SIZE), **changes)
    with pytest.raises((TlkerasError, ValueError), match=message):
        backbones.load(card)


def test_pixels_stay_whole_numbers_where_a_module_takes_them(handle):
    card = backbones.find(handle("pixels"), SIZE)
    assert card.preprocess == "none"
    backbones.check(card)
    with pytest.raises(TlkerasError, match="key 'preprocess': must be none, as its module takes whole numbers"):
        backbones.check(dataclasses.replace(card, preprocess="unit"))


def test_what_a_module_says_of_itself_is_the_truth(handle):
    card = dataclasses.replace(backbones.find(handle("keras2"), SIZE), features=7, parameters=7)
    with pytest.warns(TlkerasWarning) as said:
        loaded = backbones.load(card)
    assert [str(warning.message) for warning in said] == [
        "card 'keras2', key 'features': it is 6, not 7",
        "card 'keras2', key 'parameters': it is 633, not 7",
    ]
    with pytest.raises(TlkerasError, match=r"key 'features': it is 6\. Received: 7"):
        backbones.check(card)
    assert (loaded.card.features, loaded.card.parameters) == (6, 633)
    assert loaded.model.get_layer("preprocess").card == loaded.card.to_dict()


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("signature", {"image_size": 64}, "takes 32 pixels. Received: 64"),
        ("keras2", {"weights": "random"}, "brings its own"),
        ("bert", {}, "a card names one as `output_key`. Legal: pooled_output, sequence_output"),
        ("tf1", {"trainable": "top:1", "image_size": SIZE}, "in the format of TF1"),
        ("references", {}, "reference variables of TF1"),
        ("one image", {}, "takes batches of 1 only"),
        ("whole numbers", {}, "must give floating numbers"),
        ("no variables", {"trainable": "all"}, "nothing in this backbone can train"),
        ("keras2", {"stages": ["(", "x"]}, "key 'stages': must be"),
        ("keras2", {"trainable": "top:1", "batch_norm": "train", "image_size": SIZE}, "one graph"),
    ],
)
def test_what_cannot_be_is_said(handle, kind, options, message):
    with pytest.raises(TlkerasError, match=message):
        tlkeras.build(handle(kind), classes=["a", "b"], **options)


def test_weights_of_an_earlier_model_go_in_again(handle, tmp_path):
    earlier = images_model(handle("keras2"), trainable="all")
    fit_one_step(earlier, pictures())
    for name in ("model.keras", "model.weights.h5"):
        path = tmp_path / name
        earlier.save_weights(path) if name.endswith("h5") else earlier.save(path)
        again = images_model(handle("keras2"), weights=str(path))
        for mine, theirs in zip(*(m.get_layer("module").weights for m in (again, earlier)), strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_texts_go_in_as_they_are(handle, tmp_path):
    model = tlkeras.build(handle("text"), classes=["no", "yes"], trainable="all")
    texts = tf.constant(["a good film", "bad", "", "Very very good"])
    before = model.get_layer("module").weights[0].numpy()
    fit_one_step(model, texts)
    changed = (model.get_layer("module").weights[0].numpy() != before).any(1)
    assert changed.tolist() == [word != "not" for word in WORDS] + [True]
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(texts, verbose=0), model.predict(texts, verbose=0))
    assert trainable.recipe(loaded)["image_size"] == 0


def test_an_encoder_with_its_preprocessor(bert, tmp_path):
    model = tlkeras.build(bert, classes=["no", "yes"], trainable="top:2")
    rows = {stage.name: stage.trains for stage in trainable.plan(model, "top:2").stages}
    assert rows == {
        "word_embeddings": "no",
        **{f"transformer/layer_{i}": "yes" if i == 2 else "no" for i in range(3)},
        "pooler_transform": "yes",
        "head": "yes",
    }
    texts = tf.constant(["a good film", "bad", "", "Very very good"])
    fit_one_step(model, texts)
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded.predict(texts, verbose=0), model.predict(texts, verbose=0))


def test_an_encoder_without_its_preprocessor_is_refused(bert):
    with pytest.raises(TlkerasError, match="goes on the card as `preprocessor`"):
        backbones.load(dataclasses.replace(bert, preprocessor=None))
