"""A web server in a thread of the tests: it can cut answers short, knows Range or not, and is a proxy as well."""

import contextlib
import select
import shutil
import socket
import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest


class Server(ThreadingHTTPServer):
    """Gives `content` for every path.

    Attributes:
        silences: After how many of the first answers that are cut to keep the connection and say nothing.
        cuts: After how many bytes to break off, an answer each; None is not at all, as when the list is used up.
        status: Sent instead of the content where it is not 200.
        requests: What was asked: the request line and the headers of each.
    """

    daemon_threads = True

    def __init__(self, content=b"", certificate=None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.etag, self.ranges, self.status, self.cuts = content, '"1"', True, 200, []
        self.sent_length, self.location, self.requests, self.silences = True, None, [], 0
        self.scheme = "https" if certificate else "http"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request, client_address):
        """Keeps quiet about clients that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        server = self.server
        server.requests.append((self.requestline, dict(self.headers)))
        start, status = self._start(), server.status
        body = server.content[start:]
        if start and status == 200:
            status = 206
        self.send_response(status)
        if server.location:
            self.send_header("Location", server.location)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        if server.etag:
            self.send_header("ETag", server.etag)
        if server.sent_length:
            self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        cut = server.cuts.pop(0) if server.cuts else None
        with contextlib.suppress(OSError):
            self.wfile.write(body[:cut])
            if cut is not None and server.silences:
                server.silences -= 1
                self.rfile.read(1)  # Until the client goes.
        self.close_connection = True

    def _start(self):
        wanted = self.headers.get("Range", "")
        if not self.server.ranges or not wanted or self.headers.get("If-Range") != self.server.etag:
            return 0
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start < len(self.server.content):
            return start
        self.send_response(416)
        self.send_header("Content-Range", f"bytes */{len(self.server.content)}")
        self.send_header("Content-Length", "0")
        self.end_headers()
        raise ConnectionAbortedError

    def do_CONNECT(self):
        """Passes bytes on in both directions, as a proxy does for https."""
        self.server.requests.append((self.requestline, dict(self.headers)))
        target = urlsplit(f"//{self.path}")
        with socket.create_connection((target.hostname, target.port)) as other:
            self.send_response(200)
            self.end_headers()
            ways = {self.connection: other, other: self.connection}
            while True:
                for source in select.select(list(ways), [], [])[0]:
                    data = source.recv(2**16)
                    if not data:
                        self.close_connection = True
                        return
                    ways[source].sendall(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(content=b"", certificate=None):
    server = Server(content, certificate)
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def make_certificate(folder: Path) -> Path:
    """Makes a certificate with its key for 127.0.0.1, in one file, or skips the test."""
    if not shutil.which("openssl"):
        pytest.skip("needs the program openssl for a certificate")
    made = folder / "certificate.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=tests -addext subjectAltName=IP:127.0.0.1"
    subprocess.run([*command.split(), "-keyout", made, "-out", folder / "public.pem"], check=True, capture_output=True)
    made.write_bytes(made.read_bytes() + (folder / "public.pem").read_bytes())
    return made
