"""What REST and gRPC have in common: how long they wait, what they give, and how they word that nothing came."""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from tlkeras.client.address import Address
from tlkeras.errors import TlkerasError, TryAgain, first_line
from tlkeras.predictions import Refused

# More than the answers to any request of ours have.
MOST_BYTES = 2**26
# What reading JSON or messages raises where a server put other things than belong there.
FOREIGN = (AttributeError, TypeError, ValueError, KeyError, IndexError, OverflowError)
# More versions of a model are not listed.
_LISTED = 10
# States of a version that is not there yet; protobuf's names.
_ON_THE_WAY = {"START", "LOADING"}


@dataclasses.dataclass(frozen=True)
class Patience:
    """How long to wait for a server.

    Args:
        timeout: Seconds until an answer has to be there.
        tries: How often to ask one that does not answer, is not there, or says that it is busy.
        pause: Seconds between the first tries, then twice as many each time; up to as many again are added at random,
            so that clients that failed together do not come back together.
    """

    timeout: float = 30.0
    tries: int = 4
    pause: float = 0.5

    def pauses(self) -> Iterator[float | None]:
        """Gives for each try the seconds to wait after it, and None for the last, after which to give up."""
        for number in range(self.tries - 1):
            yield self.pause * 2**number * (1 + random.random())
        yield None


class Transport(Protocol):
    """A way to ask a server.

    Attributes:
        address: Where the model is.
    """

    address: Address

    def signatures(self) -> Mapping[str, Mapping]:
        """Gives the signatures of the model by name, each as protobuf's JSON of a `SignatureDef`.

        Raises:
            TlkerasError: There is no such model, or no TensorFlow Serving.
            TryAgain: There is no server, it is busy, or the model is on its way.
        """

    def predict(self, takes: str, strings: Sequence[bytes]) -> Mapping[str, list]:
        """Asks `serving_default`, and gives its outputs as nested lists.

        Args:
            takes: Name of the input.
            strings: Files or texts.

        Raises:
            Refused: The server says that it cannot answer this.
            TlkerasError: The model has gone, or what comes is no answer.
            TryAgain: There is no server, it is busy, or does not answer in time.
        """


def not_there(address: Address, told: str, states: Mapping[str, str] | None) -> TlkerasError:
    """Words that a server does not have a model.

    Args:
        address: Where it should be.
        told: What the server says.
        states: Of the versions that it knows of the model, by number; None where it knows no such model.
    """
    if not states:
        return TlkerasError(f"no {address.wanted} at {address.server}, which says: {line(told)}")
    listed = [f"{number} {state}" for number, state in itertools.islice(states.items(), _LISTED)]
    listed = line(", ".join([*listed, f"{len(states) - _LISTED} more"] if len(states) > _LISTED else listed))
    wanted = states if address.version is None else {number: states.get(number) for number in [str(address.version)]}
    if _ON_THE_WAY & set(wanted.values()):
        return TryAgain(f"the {address.wanted} at {address.server} is being loaded (versions: {listed}); try again")
    return TlkerasError(f"no {address.wanted} at {address.server}; the versions there: {listed}")


def no_server(address: Address, why: str, tries: int) -> TryAgain:
    """Words that nothing answers at an address."""
    return TryAgain(f"no server answers at {address.server} ({line(why)}; tried {tries} times): is it running?")


def busy(address: Address, why: str, tries: int) -> TryAgain:
    """Words that a server answered to the end that it cannot answer now."""
    return TryAgain(f"the server at {address.server} cannot answer now ({line(why)}; tried {tries} times): try again")


def too_slow(address: Address, patience: Patience) -> TryAgain:
    """Words that a server took too long."""
    return TryAgain(
        f"no answer from {address.server} within {patience.timeout:g} s, tried {patience.tries} times: try again, with "
        f"a longer --timeout or a smaller --batch-size"
    )


def no_serving(address: Address, why: str) -> TlkerasError:
    """Words that what answers is no TensorFlow Serving, or not by this protocol."""
    other = "http://HOST:8501 is REST" if address.scheme == "grpc" else "grpc://HOST:8500 is gRPC"
    return TlkerasError(f"{address.server} does not answer as TensorFlow Serving does: {line(why)}. (Its {other}.)")


def unfit(address: Address, what: str) -> TlkerasError:
    """Words that a reply has another shape than the signature says."""
    return TlkerasError(f"{address.server} gave a reply of the wrong shape for {address.wanted}: {line(what)}")


def refused(address: Address, told: str) -> TlkerasError:
    """Words that a server refuses whatever is asked."""
    return TlkerasError(f"{address.server} refuses the request: {line(told)}")


def refusal(told: str) -> Refused:
    """Words that a server refuses one request, for what it holds."""
    return Refused(f"refused by the server: {line(told)}")


def line(text: str, most: int = 300) -> str:
    """Cuts what a server says to a line of so many letters."""
    first = first_line(text) or "it does not say why"
    return first if len(first) <= most else f"{first[: most - 1]}…"
