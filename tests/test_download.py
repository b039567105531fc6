"""Downloads from a server of our own that breaks off, forgets, lies and stands behind a proxy."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time

import pytest
from server import make_certificate, serving

from tlkeras import files
from tlkeras.download import download
from tlkeras.errors import TlkerasError

CONTENT = random.Random(0).randbytes(600_000)
SHA256, MD5 = hashlib.sha256(CONTENT).hexdigest(), hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def server():
    with serving(CONTENT) as started:
        yield started


@pytest.fixture(autouse=True)
def without_proxies_and_pauses(monkeypatch):
    monkeypatch.setattr("tlkeras.download._PAUSES", (0, 0, 0))
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "cache" / "weights.h5"


def ranges(server):
    return [headers.get("Range") for _, headers in server.requests]


def only(target):
    return list(target.parent.iterdir()) == [target] and target.read_bytes() == CONTENT


def failure(server, target, **options):
    """Downloads, and gives the error after a look that nothing stands under the final name."""
    with pytest.raises(TlkerasError) as error:
        download(f"{server.url}/weights.h5", target, **options)
    assert not target.exists() and "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("options", [{}, {"sha256": SHA256}, {"md5": MD5}])
def test_a_file_arrives(server, target, options):
    seen = []
    download(f"{server.url}/weights.h5", target, **options, progress=lambda done, total: seen.append((done, total)))
    assert only(target) and seen[-1] == (len(CONTENT), len(CONTENT))


def test_a_good_file_is_left_alone_and_a_damaged_one_replaced(server, target):
    target.parent.mkdir()
    target.write_bytes(CONTENT)
    download(f"{server.url}/weights.h5", target, md5=MD5)
    assert not server.requests
    target.write_bytes(CONTENT[:-1])
    download(f"{server.url}/weights.h5", target, md5=MD5)
    assert only(target)


def test_an_interrupted_answer_is_resumed(server, target):
    server.cuts = [100_000, 0, 300_000]
    download(f"{server.url}/weights.h5", target, sha256=SHA256)
    assert only(target) and ranges(server) == [None, "bytes=100000-", "bytes=100000-", "bytes=400000-"]


def test_it_is_resumed_as_long_as_it_leads_further(server, target):
    server.cuts = [60_000] * 9
    download(f"{server.url}/weights.h5", target, sha256=SHA256)
    assert only(target)


def test_a_server_that_sends_next_to_nothing_is_given_up(server, target):
    server.cuts = [1000] * 100
    assert "20 attempts led no further than 20,000 bytes" in failure(server, target)
    assert len(server.requests) == 20
    server.cuts = []
    download(f"{server.url}/weights.h5", target, sha256=SHA256)
    assert only(target) and ranges(server)[-1] == "bytes=20000-"


@pytest.mark.parametrize("sent_length", [True, False])
def test_more_than_is_let_in_leaves_nothing(server, target, sent_length):
    server.sent_length = sent_length
    assert "more than the 500,000 bytes that are let in" in failure(server, target, most_bytes=500_000)
    assert not list(target.parent.iterdir())


def test_what_a_silent_server_sent_before_is_kept(server, target, monkeypatch):
    monkeypatch.setattr("tlkeras.download._TIMEOUT", 0.2)
    server.cuts, server.silences, said = [1000], 1, []
    download(f"{server.url}/weights.h5", target, sha256=SHA256, say=said.append)
    assert only(target) and ranges(server) == [None, "bytes=1000-"]
    assert said == [f"{server.url}/weights.h5: timed out; trying again, 1,000 bytes are here"]


def test_redirections_in_a_circle(server, target):
    server.status, server.location = 302, f"{server.url}/weights.h5"
    assert "infinite loop" in failure(server, target)


@pytest.mark.parametrize("change", [{"ranges": False}, {"etag": None}, {"etag": 'W/"1"'}])
def test_without_resuming_it_starts_over(server, target, change):
    vars(server).update(change)
    server.cuts = [100_000]
    download(f"{server.url}/weights.h5", target, sha256=SHA256)
    assert only(target) and len(server.requests) == 2


def test_the_next_call_resumes(server, target):
    server.cuts = [100_000, 0, 0, 0, 0]
    assert "it ended after 100,000 of 600,000 bytes" in failure(server, target, sha256=SHA256)
    server.requests.clear()
    download(f"{server.url}/weights.h5", target, sha256=SHA256)
    assert only(target) and ranges(server) == ["bytes=100000-"]


@pytest.mark.parametrize("change", [{"etag": '"2"'}, {"content": CONTENT[:50_000], "etag": '"2"'}])
def test_a_file_that_changed_meanwhile_is_begun_anew(server, target, change):
    server.cuts = [100_000, 0, 0, 0, 0]
    failure(server, target)
    vars(server).update(change)
    download(f"{server.url}/weights.h5", target)
    assert target.read_bytes() == server.content


def test_a_partial_file_that_is_whole_is_taken(server, target):
    server.cuts = [100_000, 0, 0, 0, 0]
    failure(server, target)
    (partial,) = (path for path in target.parent.iterdir() if path.suffix != ".origin")
    partial.write_bytes(CONTENT)
    download(f"{server.url}/weights.h5", target, sha256=SHA256)
    assert only(target)
    target.rename(partial)


def test_a_partial_file_of_something_else_is_begun_anew(server, target):
    server.cuts = [100_000, 0, 0, 0, 0]
    failure(server, target)
    download(f"{server.url}/other/weights.h5", target, sha256=SHA256)
    assert only(target) and ranges(server)[-1] is None


def test_an_answer_that_stays_short(server, target):
    server.ranges, server.cuts = False, [100_000] * 9
    assert "100,000 of 600,000 bytes" in failure(server, target)
    assert len(server.requests) == 5


@pytest.mark.parametrize("resumed", [False, True])
def test_a_wrong_hash_leaves_nothing(server, target, resumed):
    server.cuts = [100_000] * resumed
    said = failure(server, target, md5="0" * 32)
    assert f"MD5 is {MD5}, not {'0' * 32}" in said and server.url in said
    assert not list(target.parent.iterdir())
    download(f"{server.url}/weights.h5", target, md5=MD5)
    assert only(target)


@pytest.mark.parametrize(("status", "asked"), [(404, 1), (403, 1), (500, 4), (429, 4)])
def test_the_status_is_told(server, target, status, asked):
    server.status = status
    assert f"the server said {status}" in failure(server, target)
    assert len(server.requests) == asked and not list(target.parent.iterdir())


def test_a_server_that_is_not_there(target):
    with serving() as server:
        pass
    assert "Connection refused" in failure(server, target)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://a/b", "weights.h5", "http://a b/", "http://ü.de/"])
def test_other_addresses_are_refused(target, url):
    with pytest.raises(TlkerasError, match="only http and https"):
        download(url, target)


def test_proxy_variables_are_respected(server, target, monkeypatch):
    with serving(CONTENT) as proxy:
        monkeypatch.setenv("http_proxy", f"http://name:secret@127.0.0.1:{proxy.server_port}")
        download("http://weights.example/weights.h5", target, sha256=SHA256)
        assert proxy.requests[0][0] == "GET http://weights.example/weights.h5 HTTP/1.1"
        proxy.status = 503
        said = failure(server, target.with_name("other"))
        assert f"through the proxy http://127.0.0.1:{proxy.server_port}: the server said 503" in said
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        download(f"{server.url}/weights.h5", target.with_name("third"), sha256=SHA256)
        assert len(server.requests) == 1


def test_https(target, tmp_path, monkeypatch):
    certificate = make_certificate(tmp_path)
    with serving(CONTENT, certificate) as server, serving(CONTENT) as plain:
        assert "SSL_CERT_FILE" in failure(server, target)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        server.cuts = [100_000]
        monkeypatch.setenv("https_proxy", plain.url)
        download(f"{server.url}/weights.h5", target, sha256=SHA256)
        assert only(target) and plain.requests[0][0].startswith("CONNECT 127.0.0.1")
        server.status, server.location = 302, f"{plain.url}/weights.h5"
        assert "is not https" in failure(server, target.with_name("other"))


PROGRAM = """
import sys, time
from pathlib import Path
from tlkeras.download import download
{first}
download(sys.argv[1], Path(sys.argv[2]), sha256=sys.argv[3]{options})
"""


def start(server, target, first="", options=""):
    program = PROGRAM.format(first=first, options=options)
    command = [sys.executable, "-c", program, f"{server.url}/weights.h5", str(target), SHA256]
    return subprocess.Popen(command, stderr=subprocess.PIPE)


def test_several_processes_end_with_one_good_file(server, target):
    server.cuts = [200_000]
    processes = [start(server, target) for _ in range(4)]
    assert [(process.communicate()[1], process.returncode) for process in processes] == [(b"", 0)] * 4
    assert only(target) and len(server.requests) == 2


def test_a_killed_process_leaves_what_the_next_resumes(server, target):
    process = start(server, target, options=", progress=lambda *_: time.sleep(600)")
    partial = target.with_name(f"{files.UNFINISHED}{target.name}")
    while not partial.exists() or not partial.stat().st_size:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not target.exists()
    server.requests.clear()
    download(f"{server.url}/weights.h5", target, sha256=SHA256)
    assert only(target) and int(ranges(server)[0].strip("bytes=-")) > 0


def test_a_full_disk_leaves_nothing(server, target):
    resource = pytest.importorskip("resource", reason="file sizes cannot be limited here")
    limit = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, {resource.RLIM_INFINITY}))"
    said = start(server, target, limit).communicate()[1].decode()
    assert said.splitlines()[-1] == "OSError: [Errno 27] File too large"
    assert not list(target.parent.iterdir())


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError):
        download(f"{server.url}/weights.h5", tmp_path / "file" / "weights.h5")
