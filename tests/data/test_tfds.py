"""Data sets of TensorFlow Datasets become files: the bytes that were put in, in the official parts."""

import builtins

import numpy as np
import pytest

from tlkeras import data
from tlkeras.data import sources
from tlkeras.errors import TlkerasError

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("importlib_resources", reason="TensorFlow Datasets needs it, and does not say so")


class TinyShapes(tfds.core.GeneratorBasedBuilder):
    """Images of two classes, one of them with an odd name."""

    VERSION = tfds.core.Version("1.2.0")
    BUILDER_CONFIGS = tuple(tfds.core.BuilderConfig(name=name) for name in ("plain", "whole", "offline"))

    def _info(self):
        features = {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=["round/er", "square"]),
            "id": tfds.features.Text(),
        }
        return self.dataset_info_from_configs(
            features=tfds.features.FeaturesDict(features), supervised_keys=("image", "label")
        )

    def _split_generators(self, dl_manager):
        if self.builder_config.name == "offline":
            raise ConnectionError("no network here")
        if self.builder_config.name == "whole":
            return {"train": self._generate_examples(0)}
        return {"train": self._generate_examples(0), "test": self._generate_examples(100)}

    def _generate_examples(self, first):
        for number in range(first, first + 12):
            pixels = np.random.default_rng(number).integers(0, 256, (6, 6, 3), dtype=np.uint8)
            yield number, {"image": pixels, "label": number % 2, "id": str(number)}


class TinyText(tfds.core.GeneratorBasedBuilder):
    """No images at all."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict({"text": tfds.features.Text()}))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        yield 0, {"text": "hello"}


class TinyReviews(tfds.core.GeneratorBasedBuilder):
    """Texts with labels but in its test part, under names that are not declared to be the supervised keys."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        features = {"sentence": tfds.features.Text(), "label": tfds.features.ClassLabel(names=["bad", "good"])}
        return self.dataset_info_from_configs(features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples(True), "test": self._generate_examples(False)}

    def _generate_examples(self, labelled):
        for number in range(12):
            yield number, {"sentence": f"text {number} é", "label": number % 2 if labelled else -1}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("tfds"))
    TinyShapes(config="plain", data_dir=folder).download_and_prepare()
    TinyText(data_dir=folder).download_and_prepare()
    TinyReviews(data_dir=folder).download_and_prepare()
    return folder


def test_official_parts_are_kept(data_dir):
    found = sources.find("tfds:tiny_shapes:plain", data_dir=data_dir)
    assert {(example.label, example.part) for example in found.examples} == {
        (label, part) for label in ("round_er", "square") for part in ("train", "test")
    }
    assert len(found.examples) == 24
    assert found.root.name == "tfds-tiny_shapes-plain-1.2.0"
    assert found.examples[0].path.read_bytes().startswith(b"\x89PNG")


def test_missing_part_is_cut_from_train_and_the_split_restores(data_dir, tmp_path):
    loaded = data.load("tfds:tiny_shapes:plain", data_dir=data_dir)
    assert loaded.summary() == "24 images, 2 classes: 10 train, 2 val, 12 test"
    loaded.write(tmp_path)
    assert data.reload(tmp_path, loaded.settings).parts == loaded.parts


def test_texts_become_files_and_those_without_a_label_are_not_used(data_dir, tmp_path):
    loaded = data.load("tfds:tiny_reviews", "text", data_dir=data_dir, text_column="sentence")
    assert loaded.summary() == "12 texts, 2 classes: 8 train, 2 val, 2 test" and loaded.classes == ["bad", "good"]
    assert {e.text for part in loaded.parts.values() for e in part} == {f"text {number} é" for number in range(12)}
    loaded.write(tmp_path)
    assert data.reload(tmp_path, loaded.settings, task="text").parts == loaded.parts


@pytest.mark.parametrize(
    ("name", "task"), [("tiny_reviews", "image"), ("tiny_shapes:plain", "text"), ("tiny_text", "text")]
)
def test_data_sets_of_the_other_task_are_refused(name, task, data_dir):
    with pytest.raises(TlkerasError, match=f"is not one of {task}s, each with one class; it has"):
        sources.find(f"tfds:{name}", task, data_dir=data_dir)


def test_files_are_written_once(data_dir, own_cache):
    sources.find("tfds:tiny_shapes:plain", data_dir=data_dir)
    mark = own_cache / "data" / "tfds-tiny_shapes-plain-1.2.0" / "train" / "square" / "mark.png"
    mark.touch()
    assert mark in {example.path for example in sources.find("tfds:tiny_shapes:plain", data_dir=data_dir).examples}


def test_data_set_that_is_not_there_is_downloaded_when_asked(data_dir):
    with pytest.raises(TlkerasError, match=r"'tiny_shapes:whole' is not in .*--download fetches it, --data-dir"):
        sources.find("tfds:tiny_shapes:whole", data_dir=data_dir)
    found = sources.find("tfds:tiny_shapes:whole", data_dir=data_dir, download=True)
    assert len(found.examples) == 12 and {example.part for example in found.examples} == {None}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_thing", "TensorFlow Datasets has no data set 'no_such_thing'"),
        ("tiny_shapes:none", "TensorFlow Datasets has no data set 'tiny_shapes:none'"),
        ("", "TensorFlow Datasets has no data set ''"),
        ("tiny_text", r"'tiny_text' is not one of images, each with one class; it has text \(Text\)"),
    ],
)
def test_mistakes(name, message, data_dir):
    with pytest.raises(TlkerasError, match=message):
        sources.find(f"tfds:{name}", data_dir=data_dir)


def test_tensorflow_datasets_is_an_extra(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "tensorflow_datasets":
            raise ImportError
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(TlkerasError, match=r"pip install 'tlkeras\[tfds\]'"):
        sources.find("tfds:mnist")


def test_download_that_fails(data_dir):
    with pytest.raises(TlkerasError, match=r"'tiny_shapes:offline' cannot be downloaded: no network here"):
        sources.find("tfds:tiny_shapes:offline", data_dir=data_dir, download=True)
