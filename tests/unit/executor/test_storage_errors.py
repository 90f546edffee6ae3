"""Reasons of S3's answers, and of missing answers."""

import pytest
from obstore import exceptions

from nanogrid.reasons import Reason
from nanogrid_executor.storage.errors import explain

SERVER = "Generic S3 error: Error performing GET http://s3:9000/b/k in 9.4ms - "


@pytest.mark.parametrize(
    ("text", "message", "retryable"),
    [
        (SERVER + "HTTP error: error sending request\n IncompleteMessage,", "was closed", True),
        (SERVER + "HTTP error: error sending request\n kind: Timeout,", "it timed out", True),
        (SERVER + "HTTP error: error sending request", "the connection failed", True),
        ("Generic S3 error: HTTP error: request or response body error", "ended too early", True),
        (SERVER + "Received redirect without LOCATION, this", "region", False),
        ("status code: 400, <Code>AuthorizationHeaderMalformed</Code>", "Malformed", False),
        ("status code: 404, <Code>NoSuchUpload</Code>", "NoSuchUpload", True),
    ],
)
def test_an_error_without_a_usable_answer(text: str, message: str, retryable: bool) -> None:
    failure = explain(exceptions.GenericError(text), "s3://b/k")
    assert failure.reason is Reason.STORAGE_UNAVAILABLE
    assert message in str(failure)
    assert failure.retryable is retryable
