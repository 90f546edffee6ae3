"""From what S3 or its client says to a reason and a hint."""

import pytest

from nanogrid.reasons import Reason
from nanogrid.storage_causes import CAUSES, assume_cause, cause

R = Reason


@pytest.mark.parametrize(
    ("status", "code", "text", "reason", "retryable"),
    [
        (403, "AccessDenied", "Access Denied", R.INPUT_ACCESS_DENIED, False),
        (403, "", "", R.INPUT_ACCESS_DENIED, False),
        (401, "SomethingNew", "", R.INPUT_ACCESS_DENIED, False),
        (
            403,
            "AccessDenied",
            "User: arn:aws:sts::1:assumed-role/x is not authorized to perform: kms:Decrypt on "
            "resource: arn:aws:kms:eu-west-1:1:key/2",
            R.ENCRYPTION_KEY_REFUSED,
            False,
        ),
        (400, "KMS.DisabledException", "", R.ENCRYPTION_KEY_REFUSED, False),
        (400, "KMS.SomethingNew", "", R.ENCRYPTION_KEY_REFUSED, False),
        (503, "KMS.ThrottlingException", "", R.STORAGE_UNAVAILABLE, True),
        (
            400,
            "InvalidRequest",
            "The object was stored using a form of Server Side Encryption. The correct parameters "
            "must be provided to retrieve the object.",
            R.ENCRYPTION_KEY_REFUSED,
            False,
        ),
        (400, "InvalidArgument", "Invalid version id specified", R.INPUT_NOT_FOUND, False),
        (400, "InvalidArgument", "Something else", R.STORAGE_MISCONFIGURED, False),
        (
            403,
            "AccessDenied",
            "Not authorized to perform sts:AssumeRoleWithWebIdentity",
            R.INPUT_ACCESS_DENIED,
            False,
        ),
        (404, "NoSuchBucket", "", R.INPUT_NOT_FOUND, False),
        (404, "SomethingNew", "", R.INPUT_NOT_FOUND, False),
        (404, "NoSuchUpload", "", R.STORAGE_UNAVAILABLE, True),
        (301, "", "", R.STORAGE_MISCONFIGURED, False),
        (308, "SomethingNew", "", R.STORAGE_MISCONFIGURED, False),
        (307, "TemporaryRedirect", "", R.STORAGE_MISCONFIGURED, True),
        (400, "", "", R.STORAGE_MISCONFIGURED, False),
        (418, "SomethingNew", "", R.STORAGE_MISCONFIGURED, False),
        (429, "SomethingNew", "", R.STORAGE_UNAVAILABLE, True),
        (500, "SomethingNew", "", R.STORAGE_UNAVAILABLE, True),
        (507, "", "", R.STORAGE_UNAVAILABLE, False),
        (0, "", "", R.STORAGE_UNAVAILABLE, True),
        (0, "SomethingNewError", "", R.STORAGE_UNAVAILABLE, True),
        (0, "SSLError", "", R.STORAGE_MISCONFIGURED, False),
        (0, "NoCredentialsError", "", R.INPUT_ACCESS_DENIED, False),
    ],
)
def test_reasons(status: int, code: str, text: str, reason: Reason, retryable: bool) -> None:
    found = cause(status, code, text)
    assert (found.reason, found.retryable) == (reason, retryable)


def test_each_code_of_the_table_counts_more_than_its_status() -> None:
    for code, found in CAUSES.items():
        assert cause(599, code) == found


def test_a_hint_is_one_sentence_that_goes_into_another() -> None:
    for code, found in CAUSES.items():
        if found.hint:
            assert found.hint[0].islower() or found.hint.startswith("S3 "), code
            assert not found.hint.endswith("."), code


@pytest.mark.parametrize(
    ("status", "code", "text", "reason", "retryable", "says"),
    [
        (403, "AccessDenied", "", R.INPUT_ACCESS_DENIED, False, "trust policy"),
        (403, "", "", R.INPUT_ACCESS_DENIED, False, "trust policy"),
        (403, "ExpiredToken", "", R.INPUT_ACCESS_DENIED, False, "have expired"),
        (400, "", "", R.STORAGE_MISCONFIGURED, False, "s3.assumeRole"),
        (404, "", "", R.STORAGE_MISCONFIGURED, False, "s3.stsEndpoint"),
        (403, "SignatureDoesNotMatch", "Signature expired: x", R.CLOCK_SKEW, False, ""),
        (403, "SignatureDoesNotMatch", "x", R.INPUT_ACCESS_DENIED, False, "access key"),
        (500, "", "", R.STORAGE_UNAVAILABLE, True, ""),
        (0, "EndpointConnectionError", "", R.STORAGE_UNAVAILABLE, True, "s3.stsEndpoint"),
        (0, "ReadTimeoutError", "", R.STORAGE_UNAVAILABLE, True, "s3.stsEndpoint"),
        (0, "SSLError", "", R.STORAGE_MISCONFIGURED, False, "s3.caBundle"),
        (0, "ProxyConnectionError", "", R.STORAGE_UNAVAILABLE, True, "s3.proxy"),
        (0, "NoCredentialsError", "", R.INPUT_ACCESS_DENIED, False, "to assume the role with"),
    ],
)
def test_why_sts_does_not_give_a_role(
    status: int, code: str, text: str, reason: Reason, retryable: bool, says: str
) -> None:
    found = assume_cause(status, code, text)
    assert (found.reason, found.retryable) == (reason, retryable)
    assert says in found.hint
