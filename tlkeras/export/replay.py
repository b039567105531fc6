"""Golden requests, asked again of whatever answers, and compared with what the model said."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import tensorflow as tf
from PIL import ExifTags, Image
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from tlkeras.data.check import MOST_PIXELS
from tlkeras.data.images import ENOUGH
from tlkeras.errors import TlkerasError
from tlkeras.export.checks import Skip
from tlkeras.export.contract import About
from tlkeras.export.golden import Golden
from tlkeras.export.messages import classify_log, example_of, predict_log
from tlkeras.metrics import softmax

Ask = Callable[[PredictionLog], dict[str, np.ndarray]]
# A batch of decoded pixels is large: more pixels than these go alone.
_MOST_PIXELS = 2**20
_JPEG = b"\xff\xd8\xff"


def check_golden(golden: Golden, about: About) -> str:
    """Sees whether golden requests are of this export.

    Raises:
        TlkerasError: They are of other classes, or contradict themselves.
    """
    if golden.is_text != about.is_text or golden.probabilities.shape[1] != len(about.classes):
        raise TlkerasError("its requests are of another model: the input or the number of classes differs")
    if (golden.is_unknown is not None) != bool(about.unknown) or golden.scores.shape[1] != about.top_k:
        raise TlkerasError("its answers are not those that model.json describes: is_unknown, or the number of classes")
    rows = range(len(golden.requests))
    said = {"classes": np.array([[name.encode("utf-8", "replace") for name in row] for row in golden.classes], object)}
    _compare_best(golden, about, rows, said | {"scores": golden.scores})
    _check_logits(golden, about)
    failed = sum(map(bool, golden.errors))
    if not about.is_text and not failed:
        raise TlkerasError("none of its requests is undecodable")
    told = [f"{failed} undecodable"] if failed else []
    told += [f"{np.count_nonzero(golden.is_unknown) - failed} unknown"] if about.unknown else []
    return ", ".join([f"{len(rows)} requests", *told])


def _check_logits(golden: Golden, about: About) -> None:
    """Ties what `model.json` says of scores to the answers, as the answers are tied to the graph."""
    answered = _answered(golden, range(len(golden.requests)))
    meant = softmax(golden.logits / np.float32(about.temperature)) * answered
    if not np.abs(meant - golden.probabilities).max() <= golden.tolerance:
        raise TlkerasError(f"its probabilities are not those of its logits at model.json's {about.temperature:g}")
    if about.unknown:
        is_unknown = about.unknown.tell(golden.logits, about.temperature) | ~answered[:, 0]
        if (is_unknown != golden.is_unknown).any():
            raise TlkerasError("its is_unknown is not what its logits are by the threshold of model.json")


def replay(ask: Ask, golden: Golden, about: About, size: int) -> str:
    """Asks `serving_default` and `probabilities` for all golden requests in batches, and compares.

    Raises:
        TlkerasError: An answer differs from the model's.
    """
    difference, count = 0.0, 0
    for rows in _batches(len(golden.requests), size):
        request = {about.takes: [golden.requests[i] for i in rows]}
        answer = ask(predict_log("serving_default", request))
        difference = max(difference, _compare_best(golden, about, rows, answer))
        full = _output(ask(predict_log("probabilities", request)), "probabilities", (len(rows), len(about.classes)))
        difference = max(difference, _within(golden, full, golden.probabilities[rows] * _answered(golden, rows), rows))
        count += len(rows)
    return f"{count} answers as the model's, largest difference {difference:.1e}"


def replay_classify(ask: Ask, golden: Golden, about: About) -> str:
    """Asks for all golden requests through Classify.

    Raises:
        TlkerasError: An answer differs from the model's.
    """
    rows = range(len(golden.requests))
    answer = ask(classify_log("classify", [example_of(about.takes, request) for request in golden.requests]))
    return f"largest difference {_compare_best(golden, about, rows, answer):.1e}"


def ask_for_most(ask: Ask, about: About) -> str:
    """Asks for pictures that have a header alone, of as many pixels as `model.json` says are decoded, and of more.

    Raises:
        TlkerasError: The first is refused for its size, or the other is not, with that number.
    """
    most = about.max_pixels
    width = min(most + 1, MOST_PIXELS)
    sizes = (most, 1), (width, most // width + 1)
    headers = [
        b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + b"".join(side.to_bytes(4) for side in size) + b"\x08" + bytes(8)
        for size in sizes
    ]
    answer = ask(predict_log("serving_default", {about.takes: headers}))
    if "error" not in answer:
        raise TlkerasError("the answer has no error")
    said = [error.decode("utf-8", "replace") for error in answer["error"]]
    for (width, height), error, is_too_large in zip(sizes, said, (False, True), strict=True):
        if (f"more than the {most:,} " in error) != is_too_large:
            raise TlkerasError(f"{width} x {height} pixels are answered {error!r}; max_pixels is {most:,}")
    return said[1]


def replay_pixels(ask: Ask, golden: Golden, about: About) -> str:
    """Asks for the pixels of the smallest plain golden image alone and, if they are few, as a batch of 7.

    Raises:
        Skip: There is no plain one.
        TlkerasError: An answer differs from the model's.
    """
    requests = {i: golden.requests[i] for i, error in enumerate(golden.errors) if not error}
    smallest = min((i for i in requests if _is_plain(requests[i], about)), key=lambda i: len(requests[i]), default=None)
    if smallest is None:
        raise Skip("no golden image is plain: RGB or grey, upright, opaque, not to be halved while it is decoded")
    pixels, difference = _plain_pixels(requests[smallest]), 0.0
    sizes = (1, 7) if pixels.shape[0] * pixels.shape[1] <= _MOST_PIXELS else (1,)
    for size in sizes:
        answer = ask(predict_log("pixels", {"pixels": np.stack([pixels] * size)}))
        difference = max(difference, _compare_best(golden, about, [smallest] * size, answer))
    batches = " and ".join(map(str, sizes))
    return f"{pixels.shape[1]} x {pixels.shape[0]}, batch {batches}, largest difference {difference:.1e}"


def _is_plain(content: bytes, about: About) -> bool:
    """Says whether an image has the same pixels for any decoder."""
    try:
        image = Image.open(io.BytesIO(content))
    # Decoders of the graph may take what Pillow does not.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    with image:
        if not _is_small(image.size, about):
            return False
        is_upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
        is_read = image.format in ("JPEG", "PNG", "BMP") and image.mode in ("RGB", "L")
        return is_read and is_upright and "transparency" not in image.info and _is_whole(image)


def _is_whole(image: Image.Image) -> bool:
    try:
        image.load()
    except (OSError, SyntaxError, ValueError):
        return False
    return True


def _is_small(size: tuple[int, int], about: About) -> bool:
    return min(size) // 2 < ENOUGH * max(about.image_size)


def _plain_pixels(content: bytes) -> np.ndarray:
    if content.startswith(_JPEG):
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    return tf.io.decode_image(content, channels=3, expand_animations=False).numpy()


def replay_features(ask: Ask, golden: Golden, about: About) -> str:
    """Asks for the features of all golden requests, and compares; how far they may differ goes by the largest.

    Raises:
        TlkerasError: They differ from the model's.
    """
    answer = ask(predict_log("features", {about.takes: golden.requests}))
    found = _output(answer, "features", golden.features.shape)
    difference = np.abs(found - golden.features).max()
    # Put so that NaN does not pass.
    if not difference <= golden.tolerance * max(1, np.abs(golden.features).max()):
        raise TlkerasError(f"the features differ from the model's by up to {difference:.2g}")
    return f"{found.shape[1]} channels, largest difference {difference:.1e}"


def agree(one: dict[str, np.ndarray], other: dict[str, np.ndarray], tolerance: float) -> float:
    """Compares two answers of `serving_default`, and gives the largest difference of a score.

    Raises:
        TlkerasError: They differ.
    """
    if one.keys() != other.keys() or any(one[name].shape != other[name].shape for name in one):
        raise TlkerasError("the outputs have other names or shapes")
    difference = float(np.abs(one["scores"] - other["scores"]).max(initial=0))
    swapped = one["classes"] != other["classes"]
    # Classes of equal scores may change places, the last one with one that is not shown.
    if not difference <= tolerance or (swapped & (_nearest(one["scores"]) > tolerance)).any():
        what = f"scores by up to {difference:.2g}, classes in {int(swapped.sum())} places"
        raise TlkerasError(f"the answers differ: {what}")
    if "error" in one and ((one["error"] == b"") != (other["error"] == b"")).any():
        raise TlkerasError("one answers an image that the other does not")
    return difference


def _nearest(scores: np.ndarray) -> np.ndarray:
    """Gives how far each score of a row is from its neighbours; the last has one beside it that is not shown."""
    gaps = np.abs(np.diff(scores, axis=1))
    before = np.pad(gaps, ((0, 0), (1, 0)), constant_values=np.inf)
    return np.minimum(before, np.pad(gaps, ((0, 0), (0, 1)), constant_values=0))


def _batches(count: int, size: int) -> Iterator[list[int]]:
    """Gives full batches, each request in one at least."""
    for start in range(0, count, size):
        yield [i % count for i in range(start, start + size)]


def _answered(golden: Golden, rows: Sequence[int]) -> np.ndarray:
    return np.array([[not golden.errors[i]] for i in rows])


def _output(answer: dict[str, np.ndarray], name: str, shape: tuple[int, int]) -> np.ndarray:
    if name not in answer:
        raise TlkerasError(f"the answer has no {name}")
    if answer[name].shape != shape:
        raise TlkerasError(f"{name} are {answer[name].shape}, not {shape}")
    return answer[name]


def _within(golden: Golden, found: np.ndarray, expected: np.ndarray, rows: Sequence[int]) -> float:
    differences = np.abs(found - expected).max(axis=1)
    # Put so that NaN does not pass.
    if not (differences <= golden.tolerance).all():
        worst = int(np.argmax(np.where(np.isfinite(differences), differences, np.inf)))
        what = f"request {rows[worst]} by {differences[worst]:.2g}"
        raise TlkerasError(f"the answers differ from the model's: {what} (allowed: {golden.tolerance:g})")
    return float(differences.max())


def _compare_best(golden: Golden, about: About, rows: Sequence[int], answer: dict[str, np.ndarray]) -> float:
    shape = (len(rows), golden.scores.shape[1])
    names, scores = _output(answer, "classes", shape), _output(answer, "scores", shape)
    answered = _answered(golden, rows)
    expected = golden.probabilities[rows] * answered
    ranked = np.sort(expected, axis=1)[:, ::-1][:, : shape[1]]
    difference = _within(golden, scores, ranked, rows)
    index = {name.encode("utf-8", "surrogatepass"): i for i, name in enumerate(about.classes)}
    for row, i in enumerate(rows):
        named = list(names[row])
        places = [index.get(name, -1) for name in named]
        if not answered[row]:
            right = set(named) == {b""}
        else:
            is_each = min(places) >= 0 and len(set(places)) == len(places)
            right = is_each and (np.abs(expected[row, places] - ranked[row]) <= golden.tolerance).all()
        if not right:
            best = ", ".join(golden.classes[i]) or "nothing"
            said = b", ".join(named).decode("utf-8", "replace")
            other = (
                f"the model said {best!r}" if said != best else "in the order of model.json's classes they are not best"
            )
            raise TlkerasError(f"request {i} is answered {said!r}; {other}")
    _compare_others(golden, rows, answer)
    return difference


def _compare_others(golden: Golden, rows: Sequence[int], answer: dict[str, np.ndarray]) -> None:
    if "error" in answer:
        wrong = [i for i, error in zip(rows, answer["error"], strict=True) if error != golden.errors[i].encode()]
        if wrong:
            raise TlkerasError(f"error of request {wrong[0]} is not that of the model: {golden.errors[wrong[0]]!r}")
    if "is_unknown" in answer and golden.is_unknown is not None:
        wrong = answer["is_unknown"] != golden.is_unknown[rows]
        if wrong.any():
            raise TlkerasError(f"is_unknown of request {rows[int(np.argmax(wrong))]} is not what the model said")
