"""Reasons of S3's answers, and of missing answers."""

import pytest
from obstore import exceptions

from nanogrid.reasons import Reason
from nanogrid_executor.storage.errors import explain

SERVER = "Generic S3 error: Error performing GET http://s3:9000/b/k in 9.4ms - "


@pytest.mark.parametrize(
    ("text", "message", "retryable"),
    [
        (SERVER + 'dns error "x"', "check s3.endpoint", True),
        (SERVER + "HTTP error: error sending request\n IncompleteMessage,", "was closed", True),
        (SERVER + "HTTP error: error sending request\n kind: Timeout,", "it timed out", True),
        (SERVER + "HTTP error: error sending request", "the connection failed", True),
        ("Generic S3 error: HTTP error: request or response body error", "ended too early", True),
        ("status code: 404, <Code>NoSuchUpload</Code>", "NoSuchUpload", True),
    ],
)
def test_an_error_without_a_usable_answer(text: str, message: str, retryable: bool) -> None:
    failure = explain(exceptions.GenericError(text), "s3://b/k")
    assert failure.reason is Reason.STORAGE_UNAVAILABLE
    assert message in str(failure)
    assert failure.retryable is retryable


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        (SERVER + "Received redirect without LOCATION, this", "StorageMisconfigured", "region"),
        (
            "status code: 400 <Code>AuthorizationHeaderMalformed</Code><Region>eu-west-1</Region>",
            "StorageMisconfigured",
            "the bucket is in eu-west-1",
        ),
        (SERVER + "InvalidCertificate(\n UnknownIssuer,", "StorageMisconfigured", "unknown CA"),
        (SERVER + "InvalidCertificate(\n Other(", "StorageMisconfigured", "is not trusted"),
        (SERVER + "connect: tunnel error: unsuccessful", "StorageUnavailable", "check s3.proxy"),
    ],
)
def test_an_error_that_a_retry_does_not_fix(text: str, reason: str, message: str) -> None:
    failure = explain(exceptions.GenericError(text), "s3://b/k")
    assert failure.reason == reason
    assert message in str(failure)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/api/token",
        "http://169.254.170.2/v2/credentials",
        "http://169.254.170.23/v1/credentials",
        "http://[fd00:ec2::254]/latest/api/token",
        "http://[fd00:ec2::23]/v1/credentials",
    ],
)
def test_a_service_of_credentials_that_does_not_answer(url: str) -> None:
    text = f"Generic S3 error: Error performing PUT {url} in 5s - HTTP error: error sending request"
    failure = explain(exceptions.GenericError(text), "s3://b/k")
    assert (failure.reason, failure.retryable) == (Reason.INPUT_ACCESS_DENIED, False)
    assert "there are no credentials" in str(failure)
