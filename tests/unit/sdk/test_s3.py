"""The S3 client against a server that answers as a test says: verbs, options, errors."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanogrid.s3.client import S3
from nanogrid.s3.errors import S3Error
from support.fake_s3 import Content, FakeS3, fake_s3

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def server() -> Iterator[FakeS3]:
    with fake_s3() as server:
        yield server


def a_client(endpoint: str, **more: Any) -> S3:
    limits: dict[str, Any] = {"connect": 1.0, "read": 2.0, "tries": 1}
    return S3(endpoint, "us-east-1", "a", "s", **limits | more)


@pytest.fixture
def s3(server: FakeS3) -> Iterator[S3]:
    made = a_client(server.endpoint)
    yield made
    made.close()


def refuse(server: FakeS3, status: int, code: str) -> None:
    server.behaviour.error_code = code
    server.behaviour.statuses = lambda method, path, number: status


def test_an_object_is_stored_with_its_type_and_metadata(s3: S3, server: FakeS3) -> None:
    assert s3.put("b", "k", b"body", content_type="text/plain", metadata={"sha256": "x"})

    assert server.behaviour.requests == ["PUT /b/k"]
    assert b"body" in server.behaviour.puts["/b/k"]


def test_a_stream_is_stored(s3: S3, server: FakeS3) -> None:
    assert s3.put("b", "k", io.BytesIO(b"body"))

    assert b"body" in server.behaviour.puts["/b/k"]


@pytest.mark.parametrize(("status", "code"), [(412, "PreconditionFailed"), (412, "412")])
def test_a_conditional_put_that_finds_an_object_stores_nothing(
    s3: S3, server: FakeS3, status: int, code: str
) -> None:
    refuse(server, status, code)

    assert not s3.put("b", "k", b"body", only_if_absent=True)
    with pytest.raises(S3Error) as error:
        s3.put("b", "k", b"body")
    assert error.value.exists


def test_a_server_without_conditions_says_so(s3: S3, server: FakeS3) -> None:
    refuse(server, 501, "NotImplemented")

    with pytest.raises(S3Error) as error:
        s3.put("b", "k", b"body", only_if_absent=True)

    assert (error.value.unsupported, error.value.exists) == (True, False)


def test_a_read_has_a_limit(s3: S3, server: FakeS3) -> None:
    server.behaviour.stored["k"] = Content(b"0123456789")

    assert s3.read("b", "k", 4) == b"0123"
    assert s3.read("b", "k", 100) == b"0123456789"


def test_a_download_has_a_size_and_comes_in_pieces(s3: S3, server: FakeS3) -> None:
    server.behaviour.stored["k"] = Content(b"x" * 2500)

    found = s3.download("b", "k", 1000)

    assert found.size == 2500
    assert [len(chunk) for chunk in found.chunks] == [1000, 1000, 500]


def test_a_head_has_size_and_metadata(s3: S3, server: FakeS3) -> None:
    server.behaviour.stored["k"] = Content(b"12345")

    assert s3.head("b", "k") == (5, {})


def test_a_file_is_uploaded(s3: S3, server: FakeS3, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")

    s3.upload(str(tmp_path / "f"), "b", "k")

    assert b"content" in server.behaviour.puts["/b/k"]


def test_the_keys_below_a_prefix_are_deleted(s3: S3, server: FakeS3) -> None:
    server.behaviour.listed = {"p/1": Content(b""), "p/2": Content(b""), "q/3": Content(b"")}

    written = s3.written("b", "p/")
    s3.delete("b", list(written))
    assert written == dict.fromkeys(["p/1", "p/2"], 1_704_067_200.0)
    assert [one.split(" ")[0] for one in server.behaviour.requests] == ["GET", "POST"]


def test_an_object_that_s3_does_not_delete_is_an_error(s3: S3, server: FakeS3) -> None:
    """The answer is a success, and lists it."""
    server.behaviour.undeletable = ["p/2"]

    with pytest.raises(S3Error, match="s3://b/p/2: Access Denied") as error:
        s3.delete("b", ["p/1", "p/2"])

    assert error.value.code == "AccessDenied"


def test_no_key_costs_no_request_and_many_keys_one_for_each_thousand(
    s3: S3, server: FakeS3
) -> None:
    s3.delete("b", [])
    assert server.behaviour.requests == []
    s3.delete("b", [str(number) for number in range(1001)])
    assert [one.split(" ")[0] for one in server.behaviour.requests] == ["POST", "POST"]


@pytest.mark.parametrize(
    ("status", "code", "missing", "unseen"),
    [
        (404, "NoSuchKey", True, True),
        (404, "NotFound", True, True),
        (403, "AccessDenied", False, True),
        (404, "NoSuchBucket", False, False),
        (500, "InternalError", False, False),
    ],
)
def test_a_refusal_has_status_code_and_place(
    s3: S3, server: FakeS3, status: int, code: str, missing: bool, unseen: bool
) -> None:
    refuse(server, status, code)

    with pytest.raises(S3Error) as error:
        s3.read("b", "k", 10)

    assert (error.value.status, error.value.code) == (status, code)
    assert (error.value.missing, error.value.unseen) == (missing, unseen)
    assert error.value.where == "s3://b/k"
    assert str(error.value).startswith(f"s3://b/k: An error occurred ({code}) when calling")


def test_a_head_has_no_body_so_its_status_is_its_code(s3: S3) -> None:
    with pytest.raises(S3Error) as error:
        s3.head("b", "none")

    assert (error.value.status, error.value.code, error.value.missing) == (404, "404", True)


def test_a_bucket_that_refuses_is_named(s3: S3, server: FakeS3) -> None:
    refuse(server, 403, "AccessDenied")

    with pytest.raises(S3Error, match=r"^bucket b: An error occurred"):
        s3.check("b")


def test_no_server_is_status_0_with_the_errors_type() -> None:
    s3 = a_client(NOWHERE)

    with pytest.raises(S3Error) as error:
        s3.read("b", "k", 10)

    assert (error.value.status, error.value.code) == (0, "EndpointConnectionError")


def test_a_file_that_s3_refuses_has_its_code(s3: S3, server: FakeS3, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"content")
    refuse(server, 403, "AccessDenied")

    with pytest.raises(S3Error, match="AccessDenied") as error:
        s3.upload(str(tmp_path / "f"), "b", "k")

    assert (error.value.status, error.value.code) == (403, "AccessDenied")


def test_a_server_that_is_silent_ends_a_read_in_time(server: FakeS3) -> None:
    server.behaviour.stored["k"] = Content(b"x" * 8192)
    server.behaviour.chunk_seconds = 1.0
    s3 = a_client(server.endpoint, read=0.2)

    with pytest.raises(S3Error) as error:
        s3.read("b", "k", 8192)

    assert (error.value.status, error.value.code) == (0, "ReadTimeoutError")


@pytest.mark.parametrize("tries", [1, 2])
def test_a_failing_server_is_asked_so_many_times(server: FakeS3, tries: int) -> None:
    refuse(server, 500, "InternalError")

    with pytest.raises(S3Error):
        a_client(server.endpoint, tries=tries).read("b", "k", 10)

    assert len(server.behaviour.requests) == tries


def test_a_proxy_of_the_environment_is_not_used_for_this_machine(
    server: FakeS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", NOWHERE)
    monkeypatch.setenv("http_proxy", NOWHERE)

    a_client(server.endpoint).put("b", "k", b"body")

    assert len(server.behaviour.requests) == 1


def test_an_error_may_have_a_message_alone() -> None:
    error = S3Error("no answer")

    assert (str(error), error.status, error.code, error.missing) == ("no answer", 0, "", False)
