"""REST and gRPC alike, against the real SavedModel behind the interfaces of TensorFlow Serving."""

import socket

import numpy as np
import pytest
import tensorflow as tf
from serving_model import Status

from tlkeras import client
from tlkeras.client import Patience
from tlkeras.data.untrusted import NO_IMAGE
from tlkeras.errors import TlkerasError, TryAgain
from tlkeras.predict import predict

UNAVAILABLE = Status("UNAVAILABLE", "The batch scheduling queue to which this task was submitted is full")


def close(mine, theirs):
    assert [p.classes for p in mine] == [p.classes for p in theirs]
    assert [p.is_unknown for p in mine] == [p.is_unknown for p in theirs]
    for one, other in zip(mine, theirs, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-6)


@pytest.mark.parametrize("top_k", [2, 9])
def test_a_server_answers_as_the_export_does(address, server, quick, telling, photos, top_k):
    found = client.predict(address, photos, top_k, batch_size=3, patience=quick)
    assert found.has_unknown and found.top_k == min(top_k, 5)
    close(list(found), list(predict(telling, photos, min(top_k, 5))))
    assert sorted(server.sizes) == [1, 3, 3]


def test_what_cannot_be_answered_is_told_beside_its_neighbours(address, server, quick, photos, tmp_path):
    for name, content in {"empty.jpg": b"", "text.png": b"hello"}.items():
        (tmp_path / name).write_bytes(content)
    asked = [tmp_path / "empty.jpg", photos[0], tmp_path / "text.png", photos[1]]
    errors = [p.error for p in client.predict(address, asked, patience=quick)]
    assert errors == ["empty: zero bytes", None, NO_IMAGE, None]
    assert server.sizes == [3]


def test_a_request_that_is_refused_is_halved(address, server, quick, photos):
    server.largest = 2
    assert all(p.classes for p in client.predict(address, photos, patience=quick))
    assert sum(server.sizes) == 7 and max(server.sizes) == 2


def test_what_is_refused_alone_has_the_words_of_the_server(address, server, quick, photos):
    found = client.predict(address, photos[:2], patience=quick)
    server.largest = 0
    one, other = found
    assert one.error == other.error == "refused by the server: Task size 1 is larger than maximum input batch size 0"
    assert one.is_unknown


def test_a_refusal_without_words_is_told(address, server, quick, photos):
    found = client.predict(address, photos[:1], patience=quick)
    server.failures = [Status("INTERNAL", "")]
    (one,) = found
    assert one.error in (
        "refused by the server: it does not say why",
        "refused by the server: 500 Internal Server Error",
    )


@pytest.mark.parametrize("failures", [[UNAVAILABLE] * 3, ["drop", UNAVAILABLE]])
def test_a_busy_server_is_asked_again(address, server, quick, photos, failures):
    found = client.predict(address, photos[:1], patience=quick)
    server.failures = list(failures)
    assert next(found).classes and not server.failures
    assert len(server.requests) == 1 + len(failures) + 1


def test_a_busy_server_is_given_up_in_the_end(address, server, quick, photos):
    found = client.predict(address, photos[:1], patience=quick)
    server.failures = [UNAVAILABLE] * 9
    with pytest.raises(TryAgain, match=r"cannot answer now \(The batch scheduling queue .* full; tried 4 times\)"):
        next(found)
    assert len(server.failures) == 5


def test_a_slow_server_is_not_waited_for(address, server, photos):
    client.predict(address, photos, patience=Patience(timeout=20))
    server.failures = [2.0] * 2
    with pytest.raises(TryAgain, match=r"within 0.3 s, tried 2 times.* --timeout"):
        client.predict(address, photos, patience=Patience(timeout=0.3, tries=2, pause=0.01))


def test_no_server_is_one_line(address, quick, photos):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        scheme, _, rest = address.partition("://")
        nowhere = f"{scheme}://127.0.0.1:{unused.getsockname()[1]}/{rest.partition('/')[2]}"
        with pytest.raises(TryAgain, match=r"no server answers at .*refused.*tried 4 times.*is it running") as told:
            client.predict(nowhere, photos, patience=quick)
    assert "\n" not in str(told.value) and told.value.exit_code == 75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda url: url.replace("tiny", "other"), "no model 'other' at .*says: (Servable|Could) not f"),
        (lambda url: f"{url}/versions/7", "no model 'tiny' in version 7 at .*; the versions there: 1 AVAILABLE"),
        (lambda url: f"{url}/labels/stable", "refuses the request: Unrecognized servable version label: stable"),
    ],
)
def test_a_wrong_name_is_one_line(address, quick, photos, change, message):
    with pytest.raises(TlkerasError, match=message) as told:
        client.predict(change(address), photos, patience=quick)
    assert told.value.exit_code == 2


def test_a_version_can_be_named(address, quick, photos):
    assert next(client.predict(f"{address}/versions/1", photos, patience=quick)).classes


def test_a_model_that_is_being_loaded_is_worth_another_try(address, server, quick, photos):
    server.states = {1: "LOADING"}
    with pytest.raises(TryAgain, match=r"is being loaded .versions: 1 LOADING."):
        client.predict(address, photos, patience=quick)


def test_a_model_that_goes_away_is_told_after_the_answers(address, server, quick, photos):
    found = client.predict(address, photos, batch_size=1, patience=quick)
    server.failures = [None, Status("NOT_FOUND", "Servable not found for request: Latest(tiny)")]
    found = iter(found)
    with pytest.raises(TlkerasError, match=r"no model 'tiny'|the versions there"):
        list(found)


def test_a_refusal_for_good_is_one_line(address, server, quick, photos):
    found = client.predict(address, photos, patience=quick)
    server.failures = [Status("PERMISSION_DENIED", "not you\n more")]
    with pytest.raises(TlkerasError, match=r"refuses the request: not you$"):
        list(found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda outputs: {**outputs, "scores": outputs["scores"][1:]}, "scores has 6 rows where 7 rows"),
        (lambda outputs: {**outputs, "scores": outputs["scores"][:, 1:]}, "classes and scores of a row"),
        (
            lambda outputs: {**outputs, "scores": outputs["scores"] * np.nan},
            "the scores of a row are .*not probabilities",
        ),
        (lambda outputs: {**outputs, "error": outputs["scores"]}, "error and is_unknown of a row"),
        (lambda outputs: {"scores": outputs["scores"], "more": outputs["error"]}, "classes has no rows"),
        (lambda outputs: {**outputs, "classes": tf.strings.length(outputs["classes"])}, "classes and scores of a row"),
        (
            lambda outputs: {**outputs, "classes": tf.fill(tf.shape(outputs["classes"]), "")},
            "the classes of a row without error",
        ),
        (
            lambda outputs: {**outputs, "classes": tf.fill(tf.shape(outputs["classes"]), "ant")},
            "the classes of a row without error",
        ),
        (
            lambda outputs: {**outputs, "scores": tf.ones_like(outputs["scores"])},
            "the scores of a row are .*not probabilities",
        ),
    ],
)
def test_a_reply_of_another_shape_is_one_line(address, server, quick, photos, change, message):
    server.changed = change
    with pytest.raises(TlkerasError, match=f"wrong shape for model 'tiny': {message}"):
        list(client.predict(address, photos, patience=quick))


def test_another_model_is_told_from_ours(address, server, quick, photos):
    signatures = server.versions[1].signatures
    kept = signatures.pop("serving_default")
    try:
        with pytest.raises(TlkerasError, match=r"not one of tlkeras.*It has: .*probabilities \(image_bytes -> prob"):
            client.predict(address, photos, patience=quick)
    finally:
        signatures["serving_default"] = kept


def test_retries_wait_longer_each_time_and_not_all_as_long():
    first, second, third, last = Patience(pause=1.0).pauses()
    assert 1 <= first <= 2 <= second <= 4 <= third <= 8 and last is None
    assert next(Patience().pauses()) != next(Patience().pauses())


def test_the_other_interface_is_told_from_this(server, quick, photos):
    swapped = [server.rest.replace("http:", "grpc:"), server.grpc.replace("grpc:", "http:")]
    for address in swapped:
        with pytest.raises(TlkerasError, match="does not answer as TensorFlow Serving"):
            client.predict(address, photos, patience=Patience(timeout=5, tries=2, pause=0.01))
