"""An S3 server that tests can break: odd keys, objects that change, slow answers, refusals."""

import socket
import ssl
import time
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from xml.sax.saxutils import escape

import pytest

from nanogrid import names
from nanogrid.cli.http_serving import QuietHandler, serving
from support.s3_server import ACCESS_KEY, SECRET_KEY

DATE = "Mon, 01 Jan 2024 00:00:00 GMT"


@dataclass
class Content:
    """One object; ``etag`` and ``size`` may differ between listing and reading."""

    body: bytes
    etag: str = "e1"


@dataclass
class Behaviour:
    """The behaviour of the server; tests change it while it runs."""

    listed: dict[str, Content] = field(default_factory=dict)
    stored: dict[str, Content] = field(default_factory=dict)
    chunk_seconds: float = 0.0  # pause between two KiB of a body
    statuses: Callable[[str, str, int], int] = lambda method, path, number: 200
    error_code: str = "Fault"  # of answers other than 200
    error_text: str = ""
    error_headers: dict[str, str] = field(default_factory=dict)
    undeletable: list[str] = field(default_factory=list)  # keys
    honours_if_match: bool = True
    # How many bytes of an answer to a GET are sent before the connection is closed; None: all.
    cut: Callable[[str, str, int], int | None] = lambda key, range, number: None
    requests: list[str] = field(default_factory=list)
    puts: dict[str, bytes] = field(default_factory=dict)
    headers: dict[str, dict[str, str]] = field(default_factory=dict)  # of the puts
    # Whether a request with this session token (empty: without one) is accepted.
    accepts: Callable[[str], bool] = lambda token: True
    tokens: list[str] = field(default_factory=list)  # of all requests
    seen: "Counter[tuple[str, str]]" = field(default_factory=Counter)


class FakeS3(ThreadingHTTPServer):
    """It accepts all credentials."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Handler)
        self.behaviour = Behaviour()
        host = f"[{host}]" if ":" in host else host
        self.endpoint = f"{'https' if tls else 'http'}://{host}:{self.server_port}"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        return  # some tests close the connection on purpose


class _Handler(QuietHandler):
    server: FakeS3
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for an acknowledgement

    def _serve(self) -> None:
        does = self.server.behaviour
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        url = urllib.parse.urlsplit(self.path)
        query = urllib.parse.parse_qs(url.query, keep_blank_values=True)
        key = urllib.parse.unquote(url.path).partition("/")[2].partition("/")[2]
        does.requests.append(f"{self.command} {self.path}")
        does.seen[self.command, key] += 1
        status = does.statuses(self.command, self.path, does.seen[self.command, key])
        token = self.headers.get("x-amz-security-token") or ""
        does.tokens.append(token)
        if not does.accepts(token):
            self._answer(400, b"<Error><Code>ExpiredToken</Code></Error>")
        elif status != 200:
            code, message = does.error_code, escape(does.error_text)
            text = f"<Code>{code}</Code>" if code else ""
            text += f"<Message>{message}</Message>" if message else ""
            body = f"<Error>{text}</Error>".encode() if text else b""
            self._answer(status, body, **does.error_headers)
        elif "list-type" in query:
            self._list(query["prefix"][0] if "prefix" in query else "")
        elif "delete" in query:
            errors = "".join(
                f"<Error><Key>{escape(key)}</Key><Code>AccessDenied</Code>"
                "<Message>Access Denied</Message></Error>"
                for key in does.undeletable
            )
            self._answer(200, f"<DeleteResult>{errors}</DeleteResult>".encode())
        elif self.command in ("PUT", "POST", "DELETE"):
            does.puts[self.path] = body
            does.headers[self.path] = {name.lower(): v for name, v in self.headers.items()}
            self._answer(200, b"<R><UploadId>u</UploadId><ETag>e</ETag></R>", ETag='"e"')
        else:
            self._get(key, query)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _serve

    def _list(self, prefix: str) -> None:
        entries = "".join(
            f"<Contents><Key>{escape(key).translate({10: '&#10;', 1: '&#1;'})}</Key>"
            f"<Size>{len(content.body)}</Size><ETag>&quot;{content.etag}&quot;</ETag>"
            "<LastModified>2024-01-01T00:00:00.000Z</LastModified></Contents>"
            for key, content in self.server.behaviour.listed.items()
            if key.startswith(prefix)
        )
        text = f"<ListBucketResult><IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
        self._answer(200, text.encode())

    def _get(self, key: str, query: dict[str, list[str]]) -> None:
        does = self.server.behaviour
        version = query.get("versionId", [""])[0]
        content = does.stored.get(f"{key}@{version}" if version else key)
        if content is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        wanted = self.headers.get("if-match", "").strip('"')
        if wanted and wanted != content.etag and does.honours_if_match:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code></Error>")
            return
        wanted = self.headers.get("range", "")
        status, body, headers = 200, content.body, {"ETag": f'"{content.etag}"'}
        if wanted:
            first, last = (int(end) for end in wanted.removeprefix("bytes=").split("-"))
            body = content.body[first : last + 1]
            status = 206
            headers["Content-Range"] = f"bytes {first}-{first + len(body) - 1}/{len(content.body)}"
        does.seen["RANGE", wanted] += 1
        sent = does.cut(key, wanted, does.seen["RANGE", wanted])
        self._answer(status, body, sent, **headers)

    def _answer(self, status: int, body: bytes, sent: int | None = None, /, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Last-Modified", DATE)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "HEAD":
            return
        if sent is not None:
            body = body[:sent]
            self.close_connection = True
        pause = self.server.behaviour.chunk_seconds
        for at in range(0, len(body), 1024) if pause else ():
            self.wfile.write(body[at : at + 1024])
            time.sleep(pause)
        if not pause:
            self.wfile.write(body)


@contextmanager
def fake_s3(host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[FakeS3]:
    """A running server."""
    with serving(FakeS3(host, tls)) as server:
        yield server


@contextmanager
def fake_s3_of_a_pod(
    monkeypatch: pytest.MonkeyPatch,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Iterator[FakeS3]:
    """A running server, and the environment of a pod that uses it."""
    with fake_s3(host, tls) as server:
        monkeypatch.setenv(names.ENV_S3_ENDPOINT, server.endpoint)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
        yield server


@pytest.fixture
def bucket() -> Iterator[FakeS3]:
    """A server whose buckets have the object `k`."""
    with fake_s3() as server:
        server.behaviour.stored["k"] = Content(b"content")
        yield server
