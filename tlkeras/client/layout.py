"""What a served model takes and gives, read from its signatures, and its replies made into answers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from tlkeras.client.address import Address
from tlkeras.client.transport import FOREIGN, line, no_serving, unfit
from tlkeras.errors import TlkerasError
from tlkeras.predictions import Answer

_DEFAULT = "serving_default"
_NEEDED = {"classes": "DT_STRING", "scores": "DT_FLOAT"}
# More than an export names for an input.
MOST_CLASSES = 1000
# By as much a probability may be above 1.
_ROUNDING = 1e-4
OUTPUTS = {**_NEEDED, "error": "DT_STRING", "is_unknown": "DT_BOOL"}


@dataclasses.dataclass(frozen=True)
class Layout:
    """The signature `serving_default` of a model made by tlkeras.

    Args:
        takes: Name of its input: `image_bytes`, or `text`.
        top_k: How many classes it names; None where it does not say.
        has_error: It says of each input what is wrong with it.
        has_unknown: It says of each input whether it is none of the classes.
    """

    takes: str
    top_k: int | None
    has_error: bool
    has_unknown: bool

    @classmethod
    def of(cls, signatures: Mapping[str, Mapping], address: Address) -> Layout:
        """Reads it from protobuf's JSON of `SignatureDef`s, by name.

        Raises:
            TlkerasError: The model has another layout; the message says which.
        """
        try:
            return cls._read(signatures, address)
        except FOREIGN as error:
            raise no_serving(address, "its metadata do not describe signatures") from error

    @classmethod
    def _read(cls, signatures: Mapping[str, Mapping], address: Address) -> Layout:
        signature = signatures.get(_DEFAULT, {})
        inputs = _types(signature.get("inputs", {}))
        outputs = _types(signature.get("outputs", {}))
        fits = inputs in ({"image_bytes": "DT_STRING"}, {"text": "DT_STRING"})
        fits = fits and all(outputs.get(name) == kind for name, kind in _NEEDED.items())
        if not fits or any(outputs.get(name, kind) != kind for name, kind in OUTPUTS.items()):
            shown = "; ".join(map(_shown, signatures, signatures.values())) or "none"
            raise TlkerasError(
                f"the {address.wanted} at {address.server} is not one of tlkeras: it needs a signature {_DEFAULT} that "
                f"takes image_bytes or text and gives classes and scores. It has: {line(shown)}"
            )
        (takes,) = inputs
        dims = signature["outputs"]["scores"].get("tensor_shape", {}).get("dim", [])
        named = int(dims[1].get("size", -1)) if len(dims) == 2 else -1
        return cls(takes, named if named > 0 else None, "error" in outputs, "is_unknown" in outputs)


def answers(outputs: Mapping[str, list], count: int, layout: Layout, top_k: int, address: Address) -> list[Answer]:
    """Makes answers of the outputs of `serving_default`, nested lists.

    Raises:
        TlkerasError: They have another shape than so many rows of as many classes as scores.
    """
    rows = {name: outputs.get(name) for name in _NEEDED}
    rows["error"] = outputs.get("error") if layout.has_error else [""] * count
    rows["is_unknown"] = outputs.get("is_unknown") if layout.has_unknown else [None] * count
    for name, values in rows.items():
        if not isinstance(values, list) or len(values) != count:
            raise unfit(address, f"{name} has {_size(values)} where {count} rows were asked for")
    made = []
    for classes, scores, error, is_unknown in zip(*rows.values(), strict=True):
        if not (classes and _all(classes, str) and _all(scores, (int, float)) and len(classes) == len(scores)):
            raise unfit(address, f"classes and scores of a row are {classes} and {scores}")
        if not all(map(_is_probability, [*scores, sum(scores)])) or sorted(scores, reverse=True) != scores:
            raise unfit(address, f"the scores of a row are {scores}, not probabilities, the best first")
        if not error and not (all(classes) and len(set(classes)) == len(classes)):
            raise unfit(address, f"the classes of a row without error are {classes}, not names, each once")
        if not isinstance(error, str) or not (is_unknown is None or isinstance(is_unknown, bool)):
            raise unfit(address, f"error and is_unknown of a row are {error!r} and {is_unknown!r}")
        made.append(Answer(classes[:top_k], [float(score) for score in scores[:top_k]], error, is_unknown))
    return made


def _all(values: object, kind: type | tuple[type, ...]) -> bool:
    return isinstance(values, list) and all(isinstance(value, kind) for value in values)


def _is_probability(value: float) -> bool:
    # Put so that NaN is none.
    return not isinstance(value, bool) and 0 <= value <= 1 + _ROUNDING


def _size(values: object) -> str:
    return f"{len(values)} rows" if isinstance(values, list) else "no rows"


def _types(tensors: Mapping[str, Mapping]) -> dict[str, str]:
    return {name: tensor.get("dtype", "") for name, tensor in tensors.items()}


def _shown(name: str, signature: Mapping) -> str:
    takes, gives = (_named(signature.get(key, {})) for key in ("inputs", "outputs"))
    return f"{name} ({takes or 'nothing'} -> {gives or 'nothing'})"


def _named(tensors: Mapping[str, Mapping]) -> Sequence[str] | str:
    return ", ".join(sorted(tensors))
