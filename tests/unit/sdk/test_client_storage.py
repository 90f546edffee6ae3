"""Errors of S3 become the client's, each with a hint."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from nanogrid.client import ApiError, Forbidden, NotFound, Storage, Unreachable
from nanogrid.s3.client import S3
from support.fake_s3 import FakeS3, fake_s3

NOWHERE = "http://127.0.0.1:1"


@pytest.fixture
def server() -> Iterator[FakeS3]:
    with fake_s3() as server:
        yield server


def a_storage(endpoint: str) -> Storage:
    return Storage(S3(endpoint, "us-east-1", "a", "s", connect=1.0, read=2.0, tries=1), "bucket")


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "AccessDenied", Forbidden),
        (404, "NoSuchKey", NotFound),
        (500, "InternalError", ApiError),
    ],
)
def test_a_refusal_is_an_error_with_its_status(
    server: FakeS3, status: int, code: str, kind: type[ApiError]
) -> None:
    server.behaviour.error_code = code
    server.behaviour.statuses = lambda method, path, number: status

    with pytest.raises(kind, match=f"S3: An error occurred .{code}.") as error:
        list(a_storage(server.endpoint).chunks("s3://bucket/key"))

    assert (error.value.status, error.value.reason) == (status, code)
    assert error.value.hint == "Check bucket, key and the S3 credentials."


def test_a_refusal_that_is_known_has_its_own_hint(server: FakeS3) -> None:
    server.behaviour.error_code = "KMS.DisabledException"
    server.behaviour.statuses = lambda method, path, number: 400

    with pytest.raises(ApiError) as error:
        list(a_storage(server.endpoint).chunks("s3://bucket/key"))

    assert error.value.hint == "Enable the KMS key, or encrypt the objects with another one."


def a_file(folder: Path) -> Path:
    (folder / "f").write_bytes(b"content")
    return folder / "f"


@pytest.mark.parametrize(
    "use",
    [
        lambda storage, folder: storage.put("key", b"content"),
        lambda storage, folder: storage.upload(a_file(folder)),
        lambda storage, folder: list(storage.chunks("s3://bucket/key")),
    ],
    ids=["put", "upload", "chunks"],
)
def test_no_answer_is_unreachable(use: Callable[[Storage, Path], object], tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match=r"S3: .*127\.0\.0\.1:1") as error:
        use(a_storage(NOWHERE), tmp_path)

    assert error.value.status == 0
