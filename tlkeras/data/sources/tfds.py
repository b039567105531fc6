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
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise TlkerasError("tfds: needs TensorFlow Datasets: pip install 'tlkeras[tfds]'") from error
    try:
        builder = tfds.builder(name.replace(":", "/"), data_dir=data_dir or None)
    except (tfds.core.registered.DatasetNotFoundError, ValueError) as error:
        raise TlkerasError(f"TensorFlow Datasets has no data set {name!r}: {str(error).splitlines()[0]}") from error
    if download:
        builder.download_and_prepare()
    if not builder.data_path.exists():
        raise TlkerasError(
            f"the data set {name!r} is not in {builder.data_path}: --download fetches it, --data-dir names another place"
        )
    keys = builder.info.supervised_keys
    if not keys or not isinstance(builder.info.features[keys[0]], tfds.features.Image):
        raise TlkerasError(f"the data set {name!r} is not one of images with labels: its keys are {keys}")
    if not isinstance(builder.info.features[keys[1]], tfds.features.ClassLabel):
        raise TlkerasError(f"the label {keys[1]!r} of the data set {name!r} is not a class")
    version = re.sub(r"[^\w.]+", "-", f"tfds-{builder.info.full_name}")
    return folder.find(str(materialised(version, lambda: _images(builder, *keys))))


def _images(builder, image_key: str, label_key: str) -> Iterator[tuple[str, bytes]]:
    import tensorflow_datasets as tfds

    names = builder.info.features[label_key].int2str
    parts = {split: part for split, part in _PARTS.items() if split in builder.info.splits}
    alone = len(parts) < 2
    for split, part in (parts or dict.fromkeys(builder.info.splits, "")).items():
        undecoded = builder.as_dataset(split=split, decoders={image_key: tfds.decode.SkipDecoding()})
        for number, example in enumerate(undecoded):
            label = re.sub(r"[/\\\0]", "_", names(int(example[label_key])))
            yield f"{'' if alone else f'{part}/'}{label}/{split}-{number:07}", example[image_key].numpy()
