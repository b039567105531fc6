"""The requests that TensorFlow Serving runs before a version takes traffic: assets.extra/tf_serving_warmup_requests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from tlkeras.errors import TlkerasError, in_one_line
from tlkeras.export.messages import classify_log, example_of, predict_log
from tlkeras.files import written_aside

FILE = "assets.extra/tf_serving_warmup_requests"
# TensorFlow Serving refuses a version whose file has more records.
MOST_RECORDS = 1000


def write(
    folder: Path,
    example: bytes,
    is_text: bool,
    image_size: tuple[int, int] | None,
    batch_sizes: Sequence[int] = (1, 8, 32),
) -> None:
    """Writes TFRecords of `PredictionLog`, all signatures among them.

    Args:
        folder: The version, `EXPORT/N`.
        example: An image file, or a text in UTF-8, that the model answers.
        is_text: Which of the two.
        image_size: Height and width for `pixels`; not for texts.
        batch_sizes: Of the requests to `serving_default`; the other signatures get one each, of one row.
    """
    name = "text" if is_text else "image_bytes"
    logs = [predict_log("serving_default", {name: [example] * size}) for size in batch_sizes]
    logs += [predict_log(signature, {name: [example]}) for signature in ("probabilities", "features")]
    if not is_text:
        logs.append(predict_log("pixels", {"pixels": np.full((1, *image_size, 3), 127, np.uint8)}))
    logs.append(classify_log("classify", [example_of(name, example)]))
    with written_aside(folder / FILE) as aside, tf.io.TFRecordWriter(str(aside)) as file:
        for log in logs:
            file.write(log.SerializeToString())


def read(folder: Path) -> Iterator[bytes]:
    """Gives the serialised `PredictionLog`s of a version.

    Raises:
        TlkerasError: There is no such file, it is empty, or a record is damaged.
    """
    path, number = folder / FILE, 0
    if not path.is_file():
        raise TlkerasError(f"there is no {FILE}")
    try:
        for record in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            number += 1
            yield record
    except tf.errors.OpError as error:
        raise TlkerasError(f"{FILE} is damaged after {number} records: {in_one_line(error)}") from error
    if not number:
        raise TlkerasError(f"{FILE} has no record")
    if number > MOST_RECORDS:
        raise TlkerasError(f"{FILE} has {number} records; TensorFlow Serving takes up to {MOST_RECORDS}")
