import contextlib
import http.client
import itertools
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from base64 import b64encode

import pytest
from helpers import REPOSITORY

from tlkeras import client
from tlkeras.client import transport
from tlkeras.client.address import parse
from tlkeras.errors import TlkerasError, TryAgain

PROGRAM = """
import sys
from tlkeras.cli import main
try: main(sys.argv[1:])
finally: print("loaded", sorted({"tensorflow", "keras", "grpc"} & set(sys.modules)), file=sys.stderr)
"""


def test_rest_needs_no_tensorflow(server, photos):
    command = [sys.executable, "-c", PROGRAM, "predict", "--server", server.rest, *map(str, photos), "--csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert done.returncode == 0 and done.stderr.splitlines()[-1] == "loaded []"
    assert len(done.stdout.splitlines()) == 8


@pytest.mark.parametrize("page", [b"<html>hello</html>", b'["junk"]', b'{"metadata": 3}', b"\xff\xfe", b""])
def test_what_is_no_serving_is_one_line(server, quick, photos, page):
    server.failures = [page]
    with pytest.raises(TlkerasError, match="does not answer as TensorFlow Serving does") as told:
        client.predict(server.rest, photos, patience=quick)
    assert "\n" not in str(told.value) and told.value.exit_code == 2


@pytest.mark.parametrize("page", [b"<html>hello</html>", b'{"outputs": [1]}', b'{"predictions": []}'])
def test_junk_for_an_answer_is_one_line(server, quick, photos, page):
    found = client.predict(server.rest, photos, patience=quick)
    server.failures = [page]
    with pytest.raises(TlkerasError, match="a reply of the wrong shape"):
        list(found)


@pytest.fixture
def stranger():
    """Answers connections in turn with the parts it is given for each, until the other side has had enough."""
    with contextlib.ExitStack() as left, socket.create_server(("127.0.0.1", 0)) as listening:

        def answer(answers):
            for parts in answers:
                with contextlib.suppress(OSError), listening.accept()[0] as connection:
                    with connection.makefile("rb") as asked:
                        # What is not read of a request breaks the connection off, and the answer with it.
                        headers = http.client.parse_headers(asked) if asked.readline() else {}
                        asked.read(int(headers.get("Content-Length", 0)))
                    for part in parts:
                        connection.sendall(part)

        def start(*answers):
            thread = threading.Thread(target=answer, args=[answers])
            thread.start()
            left.callback(thread.join)
            return f"http://127.0.0.1:{listening.getsockname()[1]}/v1/models/m"

        yield start
        listening.shutdown(socket.SHUT_RDWR)


def test_an_answer_without_end_is_not_kept(stranger, photos, monkeypatch):
    monkeypatch.setattr(transport, "MOST_BYTES", 2**20)
    address = stranger(itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n["], itertools.repeat(b"1," * 5000)))
    with pytest.raises(TlkerasError, match="its answer has more than 1,048,576 bytes"):
        client.predict(address, photos, patience=client.Patience(timeout=20, tries=1))


def test_an_answer_that_trickles_in_is_not_waited_for(stranger, photos):
    def trickle():
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
        for _ in range(1000):
            time.sleep(0.1)
            yield b" "

    with pytest.raises(TryAgain, match=r"within 0\.5 s, tried 1 times"):
        client.predict(stranger(trickle()), photos, patience=client.Patience(timeout=0.5, tries=1))


@pytest.mark.parametrize("line", [b"X-A: a\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_headers_that_trickle_in_are_not_waited_for(stranger, photos, line):
    def trickle():
        yield b"HTTP/1.1 200 OK\r\n" if line.startswith(b"X") else b""
        for _ in range(20):
            time.sleep(0.1)
            yield line

    with pytest.raises(TryAgain, match=r"within 0\.5 s, tried 1 times"):
        client.predict(stranger(trickle()), photos, patience=client.Patience(timeout=0.5, tries=1))


@pytest.mark.parametrize(
    ("answer", "kind", "message"),
    [
        (b"X: " + b"x" * 70_000, TlkerasError, "what it says is no HTTP"),
        (b"X: x\r\n" * 200, TlkerasError, "what it says is no HTTP"),
        (b"Content-Length: 100\r\n\r\n{}", TryAgain, "its answer broke off; tried 1 times"),
        (b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", TryAgain, "its answer broke off"),
    ],
)
def test_what_is_no_answer_is_not_taken_for_no_server(stranger, photos, answer, kind, message):
    address = stranger([b"HTTP/1.1 200 OK\r\n" + answer, b"\r\n\r\n"][: 1 + (kind is not TryAgain)])
    with pytest.raises(TlkerasError, match=message) as told:
        client.predict(address, photos, patience=client.Patience(timeout=5, tries=1))
    assert type(told.value) is kind


def body(status: str, content: str) -> bytes:
    """The next request comes by another connection: one that is closed unannounced is a failure now and then."""
    return f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {len(content)}\r\n\r\n{content}".encode()


def metadata(size: str = '"3"') -> str:
    scores = f'{{"dtype": "DT_FLOAT", "tensor_shape": {{"dim": [{{"size": "-1"}}, {{"size": {size}}}]}}}}'
    inputs, classes = '{"image_bytes": {"dtype": "DT_STRING"}}', '{"dtype": "DT_STRING"}'
    default = f'{{"inputs": {inputs}, "outputs": {{"classes": {classes}, "scores": {scores}}}}}'
    return f'{{"metadata": {{"signature_def": {{"signature_def": {{"serving_default": {default}}}}}}}}}'


@pytest.mark.parametrize("page", ["<html>too large</html>", '{"error": {"a": 1}}'])
def test_the_page_of_a_proxy_is_a_refusal_where_a_request_is_too_large(stranger, photos, page):
    address = stranger([body("200 OK", metadata())], [body("413 Too Large", page)])
    (answer,) = client.predict(address, photos[:1], patience=client.Patience(timeout=20, tries=1))
    assert answer.error == "refused by the server: 413 Too Large"


@pytest.mark.parametrize("status", ["400 Bad Request", "500 Internal Server Error"])
def test_the_page_of_a_proxy_is_no_answer(stranger, photos, status):
    address = stranger([body("200 OK", metadata())], [body(status, "<html>no</html>")])
    with pytest.raises(TlkerasError, match=f"does not answer as TensorFlow Serving does: it says {status[:3]}, "):
        list(client.predict(address, photos[:1], patience=client.Patience(timeout=20, tries=1)))


def test_sizes_that_are_no_numbers_are_told(stranger, photos):
    with pytest.raises(TlkerasError, match="its metadata do not describe signatures"):
        client.predict(stranger([body("200 OK", metadata("1e999"))]), photos, patience=client.Patience(tries=1))


@pytest.mark.parametrize(
    ("states", "told"),
    [
        ('{"version": "1", "state": ["x"]}', r"the versions there: 1 \['x'\]$"),
        ('{"version": "1\\n2", "state": "END"}', "the versions there: 1$"),
        (", ".join(f'{{"version": "{n}", "state": "END"}}' for n in range(99)), "8 END, 9 END, 89 more$"),
        ("7", "which says: no such model$"),
    ],
)
def test_whatever_the_states_of_a_model_are_it_is_one_line(stranger, photos, states, told):
    missing, found = body("404 Not Found", '{"error": "no such model"}'), f'{{"model_version_status": [{states}]}}'
    with pytest.raises(TlkerasError, match=told):
        client.predict(stranger([missing], [body("200 OK", found)]), photos, patience=client.Patience(tries=1))


def test_who_sends_elsewhere_is_not_followed(stranger, photos):
    moved = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/login\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(TlkerasError, match=r"it says 302, that it is at http://127\.0\.0\.1:1/login"):
        client.predict(stranger([moved]), photos, patience=client.Patience(timeout=20, tries=1))


def test_an_answer_that_is_too_deep_is_no_fault_of_ours(stranger, photos):
    address = stranger([b"HTTP/1.1 200 OK\r\n\r\n" + b"[" * 200_000])
    with pytest.raises(TlkerasError, match="does not answer as TensorFlow Serving does"):
        client.predict(address, photos, patience=client.Patience(timeout=20, tries=1))


def post(url, body):
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as reply:
        return json.load(reply)


def test_the_test_server_speaks_rows_columns_and_examples(server, photos):
    """What the documentation of TensorFlow Serving shows, so that the client is not tested against a misreading."""
    image = {"b64": b64encode(photos[0].read_bytes()).decode()}
    (row,) = post(f"{server.rest}:predict", {"instances": [image]})["predictions"]
    (named,) = post(f"{server.rest}:predict", {"instances": [{"image_bytes": image}]})["predictions"]
    columns = post(f"{server.rest}:predict", {"inputs": [image]})["outputs"]
    assert row == named == {name: values[0] for name, values in columns.items()}
    alone = post(f"{server.rest}:predict", {"signature_name": "probabilities", "instances": [image]})["predictions"]
    assert len(alone[0]) == 7
    classified = post(f"{server.rest}:classify", {"signature_name": "classify", "examples": [{"image_bytes": image}]})
    assert [name for name, _ in classified["results"][0]] == row["classes"]


@pytest.mark.parametrize(
    ("server", "url"),
    [
        ("http://host:8501/v1/models/flowers", "http://host:8501/v1/models/flowers"),
        ("https://host/behind/v1/models/a%20b/versions/3:predict", "https://host/behind/v1/models/a%20b/versions/3"),
        ("http://[::1]:8501/v1/models/m/labels/stable/metadata", "http://[::1]:8501/v1/models/m/labels/stable"),
    ],
)
def test_addresses_are_read(server, url):
    assert parse(server).url == url


@pytest.mark.parametrize(
    "server",
    ["", "host:8501", "http://host:8501", "http://host:x/v1/models/m", "ftp://h/v1/models/m", "grpc://h/v1/models/m"]
    + ["grpc://user:word@h:8500/v1/models/m"]
    + [f"http://h/v1/models/m/versions/{'9' * digits}" for digits in (20, 5000)],
)
def test_other_addresses_are_refused_with_the_forms(server):
    with pytest.raises(TlkerasError, match=r"Legal: http://HOST:8501/v1/models/NAME or grpc://HOST:8500"):
        parse(server)


@pytest.mark.parametrize(
    ("server", "why"),
    [
        ("http://h/v1/models/m/versions/9999999999999999999", "up to 9223372036854775807"),
        ("http://h/\udcff", "no address"),
    ],
)
def test_what_no_server_could_be_asked_for_is_one_line(server, why):
    with pytest.raises(TlkerasError, match=why):
        parse(server)
