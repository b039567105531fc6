"""The real weights against numbers of another implementation: PyTorch, with the package `tokenizers`."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import safetensors_of, write_sentence_encoder

from tlkeras import trainable, zoo
from tlkeras.backbones import load
from tlkeras.builder import build
from tlkeras.errors import TlkerasError

pytest.importorskip("tensorflow_text", reason="needs the extra text")
pytest.importorskip("keras_hub", reason="needs the extra text")

GOLDEN = json.loads(Path(__file__).with_name("golden_minilm.json").read_text())
TINY = zoo.Card(
    name="tiny",
    family="minilm",
    source="file:tiny.zip",
    input_size=8,
    features=8,
    parameters=1,
    preprocess="none",
    stages=("embeddings_.*|wordpieces", "layer1|mean_of_tokens"),
    license="Apache-2.0",
    task="text",
)


@pytest.fixture
def archive(tmp_path):
    return write_sentence_encoder(tmp_path / "tiny.zip")


@pytest.fixture
def tiny(archive):
    return load(TINY, archive).model


def pieces(model, texts):
    numbers, mask = keras.Model(model.input, model.get_layer("wordpieces").output)(tf.constant(texts))
    return [row[: sum(some)].tolist() for row, some in zip(numbers.numpy(), mask.numpy(), strict=True)]


@pytest.fixture
def minilm(fetched):
    fetched(zoo.card("minilm_l6"))
    return load(zoo.card("minilm_l6")).model


def test_embeddings_are_those_of_the_original(minilm):
    texts, golden = [row["text"] for row in GOLDEN], np.array([row["embedding"] for row in GOLDEN])
    found = pieces(minilm, texts)
    assert [len(row) for row in found] == [row["tokens"] for row in GOLDEN]
    assert [row[:24] for row in found] == [row["ids"] for row in GOLDEN]
    found = minilm.predict(tf.constant(texts), verbose=0)
    np.testing.assert_allclose(found, golden, atol=1e-4)
    cosines = np.sum(found * golden, 1) / np.linalg.norm(found, axis=1) / np.linalg.norm(golden, axis=1)
    np.testing.assert_allclose(cosines, 1, atol=1e-6)
    alone = np.concatenate([minilm(tf.constant([text])) for text in texts])
    np.testing.assert_allclose(alone, golden, atol=1e-4)


def test_the_card_tells_the_truth(minilm):
    card = zoo.card("minilm_l6")
    assert minilm.count_params() == card.parameters and minilm.output_shape == (None, card.features)
    assert minilm.get_layer("preprocess").card == card.to_dict()


ODD = ["", " ", "\r\n\t", "É e\u0301 naïve ３½ Ångström", "ΣΑΣ İ ß ﬁ", "电影movie한국어", "\x00\x07\ufffd"]
ODD += ["soft\u00adhyphen zero\u200bwidth\u00a0nbsp", "don't $5.00 a@b.co `~^|", "x" * 100, "x" * 101, "é" * 60]
ODD += ["\U0001f468\u200d\U0001f469\u200d\U0001f467 \u2764\ufe0f", "word " * 400]


def test_pieces_are_those_of_the_package_tokenizers(fetched):
    tokenizers = pytest.importorskip("tokenizers", reason="needs the package tokenizers")
    archive = fetched(zoo.card("minilm_l6"))
    with zipfile.ZipFile(archive) as opened:
        original = tokenizers.Tokenizer.from_str(opened.read("tokenizer.json").decode())
    original.no_padding()
    original.enable_truncation(256)
    # What later Unicode added the two may see differently.
    texts = [*ODD, *(f"ab{chr(code)}cd" for code in range(0x500))]
    assert pieces(load(zoo.card("minilm_l6")).model, texts) == [found.ids for found in original.encode_batch(texts)]


def test_bytes_that_are_no_utf8_are_passed_over(tiny):
    assert pieces(tiny, [b"good\xff film"]) == pieces(tiny, ["good film"])


def test_a_text_is_padded_to_the_longest_and_cut_at_the_most(tiny):
    layer = keras.Model(tiny.input, tiny.get_layer("wordpieces").output)
    assert layer(tf.constant(["a", "a b"]))[0].shape == (2, 4)
    assert layer(tf.constant(["a " * 50]))[0].shape == (1, TINY.input_size)


def test_others_in_a_batch_change_nothing(tiny):
    alone = tiny(tf.constant(["good"]))
    np.testing.assert_allclose(tiny(tf.constant(["good", "a b c d"]))[:1], alone, atol=1e-5)


def test_nothing_is_random(tiny):
    texts = tf.constant(["good film", "bad"])
    np.testing.assert_array_equal(tiny(texts, training=True), tiny(texts, training=False))


def test_random_weights_need_no_file_and_read_letters():
    model = load(zoo.card("minilm_l6"), "random").model
    assert model.count_params() == zoo.card("minilm_l6").parameters
    assert len(pieces(model, ["abc d"])[0]) == 6


def test_a_saved_model_needs_nothing_else_and_its_frozen_layers_stay_so(archive, tmp_path):
    model = build(TINY, classes=["bad", "good"], weights=str(archive), trainable="head")
    expected = model(tf.constant(["a good film", "bäd ☃"])).numpy()
    model.save(tmp_path / "model.keras")
    archive.unlink()
    program = (
        "import socket, sys; socket.socket.connect = lambda *to: sys.exit('the network was asked')\n"
        "import tlkeras, keras; model = keras.saving.load_model(sys.argv[1])\n"
        "import tensorflow as tf; print(len(model.trainable_variables))\n"
        "print(*model(tf.constant(['a good film', 'bäd ☃'])).numpy().ravel().tolist())"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "model.keras"], capture_output=True, check=True)
    count, numbers = done.stdout.decode().splitlines()
    assert count == "2"
    np.testing.assert_allclose(np.array(numbers.split(), float), expected.ravel(), atol=1e-6)


def test_stages_are_embeddings_and_layers(archive):
    model = build(TINY, classes=["bad", "good"], weights=str(archive), trainable="top:1")
    assert [(s.name, s.trains) for s in trainable.plan(model, "top:1").stages] == [
        ("embeddings", "no"),
        ("layer1", "yes"),
        ("head", "yes"),
    ]
    assert len(model.trainable_variables) == 16 + 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"config.json": b"{"}, "cannot be read: JSONDecodeError"),
        ({"config.json": b"[]"}, "cannot be read: AttributeError"),
        ({"config.json": b'{"model_type": "gpt2"}'}, "not that of a BERT: model_type 'gpt2'"),
        ({"config.json": b" " * (2**20 + 1)}, "config.json has 1,048,577 bytes; at most"),
        ({"1_Pooling/config.json": b"{}"}, "another pooling than the mean"),
        ({"tokenizer.json": b"{}"}, "cannot be read: KeyError"),
        ({"model.safetensors": b""}, "model.safetensors is damaged"),
        ({"model.safetensors": (2**40).to_bytes(8, "little") + b"{}"}, "model.safetensors is damaged"),
        (
            {"model.safetensors": safetensors_of({"other": (2, 3)})},
            "lacks the tensors embeddings.word_embeddings.weight",
        ),
    ],
)
def test_an_archive_that_is_not_sound_is_refused(tmp_path, changes, message):
    with pytest.raises(TlkerasError, match=message):
        load(TINY, write_sentence_encoder(tmp_path / "bad.zip", **changes))


@pytest.mark.parametrize("values", [np.full(8, np.nan, "f4"), np.full(8, 1e39), np.zeros(8, "i4")])
def test_numbers_that_are_not_finite_floats(archive, tmp_path, values):
    tensors = pytest.importorskip("safetensors.numpy", reason="needs the extra text")
    with zipfile.ZipFile(archive) as opened:
        held = tensors.load(opened.read("model.safetensors")) | {"embeddings.LayerNorm.bias": values}
    path = write_sentence_encoder(tmp_path / "bad.zip", **{"model.safetensors": tensors.save(held)})
    with pytest.raises(TlkerasError, match=r"NaN, or beyond float32, in embeddings\.LayerNorm\.bias$"):
        load(TINY, path)


def test_nothing_is_taken_in_part(archive):
    with pytest.raises(TlkerasError, match="whole or not at all"):
        load(TINY, archive, partial=True)


def test_an_archive_of_another_network_is_refused(tmp_path):
    with pytest.raises(TlkerasError, match="2 layers of width 8 with 2 heads; the card 'tiny' of 1 layers of width 8"):
        load(TINY, write_sentence_encoder(tmp_path / "other.zip", layers=2))


@pytest.mark.parametrize("name", ["none.zip", "a.keras", "broken.zip"])
def test_a_file_that_is_no_archive_is_refused(tmp_path, name):
    (tmp_path / "broken.zip").write_bytes(b"PK no zip")
    with pytest.raises(TlkerasError, match=name):
        load(TINY, tmp_path / name)


def test_texts_have_no_size_in_pixels(archive):
    with pytest.raises(TlkerasError, match="'tiny' takes texts"):
        load(TINY, archive, image_size=32)


def test_what_is_not_installed_is_named(archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    with pytest.raises(TlkerasError, match=r"pip install 'tlkeras\[text\]'"):
        load(TINY, archive)
