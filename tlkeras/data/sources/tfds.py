"""Image classification data sets of TensorFlow Datasets (the extra `tfds`)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tlkeras.data.dataset import Source
from tlkeras.data.sources import folder
from tlkeras.data.sources.materialise import materialised
from tlkeras.errors import TlkerasError

_PARTS = {"train": "train", "validation": "val", "val": "val", "valid": "val", "test": "test"}


def find(name: str, *, data_dir: str = "", download: bool = False, **_) -> Source:
    """Writes the images of a data set as files into the cache, in the bytes that it holds them in, and finds them.

    The parts train, validation and test of the data set are kept; its other parts are not used.

    Args:
        name: `NAME` or `NAME:CONFIG`.
        data_dir: Where TensorFlow Datasets keeps its data; its own default where empty.
        download: Download and prepare a data set that is not there.

    Raises:
        TlkerasError: TensorFlow Datasets is not installed, knows no such data set, has not got it, or it is not one of
            images with class labels.
    """
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
    keys = _keys(builder, name)
    version = re.sub(r"[^\w.]+", "-", f"tfds-{builder.info.full_name}")
    return folder.find(str(materialised(version, lambda: _images(builder, *keys))))


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


def _keys(builder, name: str) -> tuple[str, str]:
    """Gives the keys of image and label, of a data set that says what its input and its target are."""
    import tensorflow_datasets as tfds

    features, keys = builder.info.features, builder.info.supervised_keys
    wanted = (tfds.features.Image, tfds.features.ClassLabel)
    if keys and len(keys) == 2 and all(isinstance(features[key], kind) for key, kind in zip(keys, wanted, strict=True)):
        return keys
    held = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in features.items())
    raise TlkerasError(f"the data set {name!r} is not one of images, each with one class; it has {held}")


def _images(builder, image_key: str, label_key: str) -> Iterator[tuple[str, bytes]]:
    import tensorflow_datasets as tfds

    names = builder.info.features[label_key].int2str
    parts = {split: part for split, part in _PARTS.items() if split in builder.info.splits}
    alone = len(parts) < 2
    for split, part in (parts or dict.fromkeys(builder.info.splits, "")).items():
        undecoded = builder.as_dataset(split=split, decoders={image_key: tfds.decode.SkipDecoding()})
        for number, example in enumerate(undecoded):
            # A name that no folder can have, or that would hide it, is not worth refusing the data for.
            label = re.sub(r"[/\\\0]|^\.", "_", names(int(example[label_key])))
            yield f"{'' if alone else f'{part}/'}{label}/{split}-{number:07}", example[image_key].numpy()
