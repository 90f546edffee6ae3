"""The client's uploads and downloads against a real S3 server."""

import hashlib
import uuid
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from nanogrid import wire
from nanogrid.cli.http_serving import QuietHandler, serving
from nanogrid.client import (
    Corrupt,
    Forbidden,
    NotConfigured,
    NotFound,
    Output,
    Storage,
    Unreachable,
)
from support.s3_server import BUCKET, S3Server


@pytest.fixture
def storage(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    monkeypatch.setenv("NANOGRID_S3_BUCKET", BUCKET)
    made = Storage.from_env()
    yield made
    made.close()


def output(url: str, content: bytes, storage: Storage) -> Output:
    sha256 = hashlib.sha256(content).hexdigest()
    file = wire.OutputFile(
        path="f", url=url, bytes=len(content), sha256=sha256, content_type="text/plain"
    )
    return Output(file, lambda: storage)


def test_a_file_is_stored_under_its_checksum_and_can_be_read(
    storage: Storage, s3: S3Server, tmp_path: Path
) -> None:
    content = uuid.uuid4().bytes * 200_000  # 3 MiB: several pieces
    path = tmp_path / "file with ä.bin"
    path.write_bytes(content)

    stored = storage.upload(path)

    assert stored.sha256 == hashlib.sha256(content).hexdigest()
    assert stored.sha256 in stored.uri
    assert output(stored.uri, content, storage).read() == content
    named = storage.upload(path, key="mine/k")
    assert named.uri == f"s3://{BUCKET}/mine/k"


def test_equal_content_is_sent_once(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    key, content = f"code/{uuid.uuid4()}.zip", b"zip"
    sent: list[Any] = []
    put = storage.s3.put
    monkeypatch.setattr(
        storage.s3, "put", lambda *given, **options: (sent.append(given), put(*given, **options))
    )
    assert storage.put(key, content) == storage.put(key, content)
    assert len(sent) == 1
    storage.put(key, b"other")
    assert len(sent) == 2


def test_an_overwritten_or_missing_object_is_an_error(storage: Storage, s3: S3Server) -> None:
    storage.put("o/k", b"new content")
    with pytest.raises(Corrupt):
        output(f"s3://{BUCKET}/o/k", b"old content", storage).read()
    with pytest.raises(NotFound):
        output(f"s3://{BUCKET}/o/none", b"", storage).read()


def test_a_presigned_url_needs_no_credentials(storage: Storage, s3: S3Server) -> None:
    storage.put("o/p", b"signed")
    params = {"Bucket": BUCKET, "Key": "o/p"}
    url = s3.client.generate_presigned_url("get_object", Params=params, ExpiresIn=60)
    assert output(url, b"signed", storage).read() == b"signed"
    with pytest.raises(Forbidden) as caught:
        output(url.partition("?")[0], b"signed", storage).read()
    assert "expired" in caught.value.hint


def test_a_broken_download_is_an_error(storage: Storage) -> None:
    class Short(QuietHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "100")
            self.end_headers()
            self.wfile.write(b"half")

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Short)) as server:
        broken = output(f"http://127.0.0.1:{server.server_port}/f", b"x" * 100, storage)
        with pytest.raises(Unreachable):
            broken.read()


def test_a_missing_bucket_has_a_hint(
    s3: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("NANOGRID_S3_BUCKET", raising=False)
    (tmp_path / "f").write_text("x")
    made = Storage.from_env()
    with pytest.raises(NotConfigured, match="no bucket"):
        made.upload(tmp_path / "f")
    made.close()
