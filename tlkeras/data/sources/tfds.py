"""Data sets of TensorFlow Datasets (the extra `tfds`): images, or texts, with class labels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tlkeras.data.dataset import Source
from tlkeras.data.sources import folder
from tlkeras.data.sources.materialise import materialised
from tlkeras.errors import TlkerasError

_PARTS = {"train": "train", "validation": "val", "val": "val", "valid": "val", "test": "test"}


def find(name: str, *, data_dir: str = "", download: bool = False, **_) -> Source:
    """Writes the images of a data set as files into the cache, in the bytes that it holds them in, and finds them.

    Image and label are what the data set declares as its supervised keys.

    The parts train, validation and test of the data set are kept; its other parts are not used.

    Args:
        name: `NAME` or `NAME:CONFIG`.
        data_dir: Where TensorFlow Datasets keeps its data; its own default where empty.
        download: Download and prepare a data set that is not there.

    Raises:
        TlkerasError: TensorFlow Datasets is not installed, knows no such data set, has not got it, or it is not one of
            images with class labels.
    """
    builder = _prepared(name, data_dir, download)
    keys = _keys(builder, name, "Image", *(builder.info.supervised_keys or ())[:2])
    return folder.find(str(_files(builder, keys, "", "")))


def find_texts(
    name: str,
    *,
    text_column: str = "text",
    label_column: str = "label",
    data_dir: str = "",
    download: bool = False,
    **_,
) -> Source:
    """Writes the texts of a data set as .txt files into the cache, and finds them; without a label they are not used.

    Args:
        name: As in `find`.
        text_column: Name of the feature that is the text, where the data set does not declare its supervised keys.
        label_column: Name of the feature that is the class, likewise.
        data_dir: As in `find`.
        download: As in `find`.

    Raises:
        TlkerasError: As `find`.
    """
    builder = _prepared(name, data_dir, download)
    keys = _keys(builder, name, "Text", *(builder.info.supervised_keys or (text_column, label_column))[:2])
    return folder.find_texts(str(_files(builder, keys, f"-{keys[0]}-{keys[1]}", ".txt")))


def _prepared(name: str, data_dir: str, download: bool):
    try:
        builder = _builder(name, data_dir)
        if download:
            _download(builder, name)
    except ImportError as error:
        raise TlkerasError(f"tfds: needs TensorFlow Datasets: pip install 'tlkeras[tfds]' ({error})") from error
    if not builder.data_path.exists():
        raise TlkerasError(
            f"the data set {name!r} is not in {builder.data_path}: --download fetches it, --data-dir names another "
            f"place to look in"
        )
    return builder


def _files(builder, keys: tuple[str, str], mark: str, suffix: str) -> Path:
    version = re.sub(r"[^\w.]+", "-", f"tfds-{builder.info.full_name}{mark}")
    return materialised(version, lambda: _examples(builder, *keys, suffix))


def _builder(name: str, data_dir: str):
    import tensorflow_datasets as tfds

    try:
        return tfds.builder(name.replace(":", "/"), data_dir=data_dir or None)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TlkerasError(f"TensorFlow Datasets has no data set {name!r}: {reason}") from error


def _download(builder, name: str) -> None:
    import tensorflow_datasets as tfds

    try:
        builder.download_and_prepare()
    # An assertion is how TensorFlow Datasets says that files must be fetched by hand.
    except (OSError, tfds.download.DownloadError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0]
        raise TlkerasError(f"the data set {name!r} cannot be downloaded: {reason}") from error


def _keys(builder, name: str, kind: str, *keys: str) -> tuple[str, str]:
    """Gives the keys of input and label, once they are seen to be of that kind."""
    import tensorflow_datasets as tfds

    features = builder.info.features
    wanted = (getattr(tfds.features, kind), tfds.features.ClassLabel)
    there = [features[key] for key in keys if key in features]
    if len(there) == 2 and all(map(isinstance, there, wanted)):
        return keys
    held = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in features.items())
    raise TlkerasError(f"the data set {name!r} is not one of {kind.lower()}s, each with one class; it has {held}")


def _examples(builder, key: str, label_key: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    import tensorflow_datasets as tfds

    names = builder.info.features[label_key].int2str
    parts = {split: part for split, part in _PARTS.items() if split in builder.info.splits}
    alone = len(parts) < 2
    for split, part in (parts or dict.fromkeys(builder.info.splits, "")).items():
        undecoded = builder.as_dataset(split=split, decoders=None if suffix else {key: tfds.decode.SkipDecoding()})
        for number, example in enumerate(undecoded):
            if example[label_key] < 0:
                continue
            # A name that no folder can have, or that would hide it, is not worth refusing the data for.
            label = re.sub(r"[/\\\0]|^\.", "_", names(int(example[label_key])))
            yield f"{'' if alone else f'{part}/'}{label}/{split}-{number:07}{suffix}", example[key].numpy()
