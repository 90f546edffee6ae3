"""Answers of STS that are none, and credentials that are none: each is named, and none is shown."""

import logging
import re
import threading
import time
from collections.abc import Iterator
from xml.sax.saxutils import escape

import pytest

from nanogrid import names
from nanogrid.assumed_role import AssumedRole
from nanogrid.reasons import Reason
from nanogrid.s3.client import S3
from nanogrid.s3.errors import S3Error
from nanogrid_executor.storage import role_credentials, sts
from nanogrid_executor.storage.errors import StorageError
from nanogrid_executor.storage.role_credentials import shared
from nanogrid_executor.storage.s3 import Storage
from support.fake_s3 import FakeS3
from support.fake_sts import ARN, BASE_KEY, BASE_SECRET, FakeSts, fake_sts

pytestmark = pytest.mark.integration

CANARY = "canary-of-the-session"
NO_STS = r"this server is no STS: correct s3\.stsEndpoint"
MISCONFIGURED, DENIED = Reason.STORAGE_MISCONFIGURED, Reason.INPUT_ACCESS_DENIED


def credentials(without: str = "", **more: str) -> bytes:
    given = {
        "AccessKeyId": "ASIAEXAMPLEEXAMPLE",
        "SecretAccessKey": "the-secret",
        "SessionToken": CANARY,
        "Expiration": "2099-01-01T00:00:00Z",
    } | more
    fields = "".join(f"<{k}>{escape(v)}</{k}>" for k, v in given.items() if k != without)
    result = f"<AssumeRoleResult><Credentials>{fields}</Credentials></AssumeRoleResult>"
    return f"<AssumeRoleResponse>{result}</AssumeRoleResponse>".encode()


BOMB = b'<!DOCTYPE a [<!ENTITY a "xxxxxxxx">%s]><AssumeRoleResponse>&i;</AssumeRoleResponse>' % (
    b"".join(b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(8))
)


@pytest.fixture
def server(bucket: FakeS3, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeSts]:
    with fake_sts() as server:
        for name in (*sts.ENV_KEYS, sts.ENV_TOKEN, *sts.ENV_ROLE, *sts.ENV_AGENT):
            monkeypatch.delenv(name, raising=False)
        for name, value in {
            "AWS_ACCESS_KEY_ID": BASE_KEY,
            "AWS_SECRET_ACCESS_KEY": BASE_SECRET,
            names.ENV_S3_ENDPOINT: bucket.endpoint,
            names.ENV_S3_REGION: "us-east-1",
            names.ENV_S3_ROLE_ARN: ARN,
            names.ENV_STS_ENDPOINT: server.endpoint,
        }.items():
            monkeypatch.setenv(name, value)
        shared.cache_clear()
        yield server


def job_read() -> bytes:
    return Storage(delays=(), pause=lambda seconds: None).get_bytes("b", "k", 10)[0]


def operator(bucket: FakeS3, endpoint: str) -> S3:
    role = AssumedRole.of(ARN, "nanogrid-operator", endpoint=endpoint, region="us-east-1")
    return S3(bucket.endpoint, "us-east-1", connect=5, read=10, tries=1, role=role)


def failures(bucket: FakeS3, server: FakeSts) -> tuple[StorageError, S3Error]:
    with pytest.raises(StorageError) as of_job:
        job_read()
    client = operator(bucket, server.endpoint)
    with pytest.raises(S3Error) as of_operator:
        client.read("b", "k", 10)
    client.close()
    return of_job.value, of_operator.value


def test_the_control(bucket: FakeS3, server: FakeSts) -> None:
    server.answers.raw = credentials()
    assert job_read() == b"content"
    assert operator(bucket, server.endpoint).read("b", "k", 10) == b"content"
    assert set(bucket.behaviour.tokens) == {CANARY}


@pytest.mark.parametrize(
    ("status", "raw", "reason", "says"),
    [
        (200, b"<html>hello", MISCONFIGURED, NO_STS),
        (200, b"", MISCONFIGURED, NO_STS),
        (404, b"<html><body>no</body>", MISCONFIGURED, NO_STS),
        (301, b"moved", MISCONFIGURED, NO_STS),
        (307, b"", MISCONFIGURED, NO_STS),
        (403, b"nope", DENIED, "trust policy"),
        (502, b"<!DOCTYPE html><p>no", Reason.STORAGE_UNAVAILABLE, "502"),
        (200, credentials().partition(b"2099")[0], MISCONFIGURED, NO_STS),
        (200, BOMB, MISCONFIGURED, NO_STS),
        (200, b"<a>" + b"x" * (8 << 20) + b"</a>", MISCONFIGURED, NO_STS),
        (200, credentials(without="AccessKeyId"), MISCONFIGURED, NO_STS),
        (200, credentials(without="SessionToken"), MISCONFIGURED, NO_STS),
        (200, credentials(without="Expiration"), MISCONFIGURED, NO_STS),
        (200, credentials(Expiration="soon"), MISCONFIGURED, NO_STS),
        (200, credentials(Expiration="2001-01-01T00:00:00"), Reason.CLOCK_SKEW, "ended at 2001"),
    ],
    ids=lambda value: value[:24].decode() if isinstance(value, bytes) else None,
)
def test_an_answer_without_credentials(
    bucket: FakeS3,
    server: FakeSts,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    status: int,
    raw: bytes,
    reason: Reason,
    says: str,
) -> None:
    caplog.set_level(logging.DEBUG, "nanogrid")
    caplog.set_level(logging.INFO, "botocore")
    server.answers.status, server.answers.raw = status, raw
    of_job, of_operator = failures(bucket, server)
    assert (of_job.reason, of_operator.cause.reason) == (reason, reason)
    for error in (of_job, of_operator):
        assert f"cannot assume {ARN}: " in str(error)
        assert re.search(says, str(error)), error
    shown = caplog.text + "".join(capsys.readouterr()) + str(of_job) + str(of_operator)
    assert "cannot assume" in caplog.text
    assert CANARY not in shown
    assert "the-secret" not in shown


def test_no_log_repeats_the_signed_request(
    bucket: FakeS3, server: FakeSts, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    server.answers.status, server.answers.code = 403, "SignatureDoesNotMatch"
    server.answers.text = f"It does not match.\n\nThe request was\nx-amz-security-token:{CANARY}"
    failures(bucket, server)
    assert "It does not match." in caplog.text
    assert CANARY not in caplog.text


@pytest.mark.parametrize("name", ["AWS_ACCESS_KEY_ID", sts.ENV_TOKEN])
def test_a_secret_with_a_line_break(
    bucket: FakeS3,
    server: FakeSts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    monkeypatch.setenv(name, f"{CANARY}\n")
    for error in failures(bucket, server):
        assert "line break" in str(error)
        assert "correct the access key" in str(error)
        assert CANARY not in str(error)
    own = S3(bucket.endpoint, "us-east-1", connect=5, read=5, tries=1)
    with pytest.raises(S3Error, match="line break") as error:
        own.read("b", "k", 10)
    assert CANARY not in str(error.value) + caplog.text
    assert not server.answers.asked


def test_keys_that_are_no_header(bucket: FakeS3, server: FakeSts) -> None:
    server.answers.raw = credentials(AccessKeyId=f"{CANARY}\nX: y")
    of_job, of_operator = failures(bucket, server)
    assert of_job.reason is MISCONFIGURED
    assert "line break" in str(of_operator)
    assert CANARY not in str(of_job) + str(of_operator)


def test_a_refused_role_is_no_missing_object(bucket: FakeS3, server: FakeSts) -> None:
    """Without the right to list, a missing object is a 403 too: of S3, not of STS."""
    client = operator(bucket, server.endpoint)
    with pytest.raises(S3Error) as missing:
        client.read("b", "missing", 10)
    assert missing.value.unseen
    for status, code in ((403, "AccessDenied"), (404, "NotFound"), (501, "NotImplemented")):
        server.answers.status, server.answers.code = status, code
        _, refused = failures(bucket, server)
        assert not any((refused.unseen, refused.exists, refused.unsupported))


def test_an_answer_that_drips(
    bucket: FakeS3, server: FakeSts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(role_credentials, "REQUEST_SECONDS", 0.5)
    server.answers.raw, server.answers.pause = credentials(), 0.05  # 20 s
    began = time.monotonic()
    with pytest.raises(StorageError, match="the answer is too slow") as error:
        job_read()
    assert error.value.retryable
    assert time.monotonic() - began < 10


def test_threads_of_the_operator_share_a_failure(bucket: FakeS3, server: FakeSts) -> None:
    """In a row, each would wait for its own request, with all threads of the process."""
    server.answers.status, server.answers.code = 503, "ServiceUnavailable"
    client = operator(bucket, server.endpoint)
    found: list[S3Error] = []

    def read() -> None:
        with pytest.raises(S3Error) as error:
            client.read("b", "k", 10)
        found.append(error.value)

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(found) == 8
    assert len(server.answers.asked) == 1
