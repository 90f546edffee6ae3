"""Why a request to S3 failed: from its code, its HTTP status or the client's error to a reason.

One table for all clients of S3: the executor (obstore), operator, gateway and CLI (boto3). A code
is one of S3, an HTTP status as text, or the type of boto3's error when there was no answer. Pure,
standard library only.
"""

import re
from typing import Final, NamedTuple

from nanogrid.reasons import Reason


class Cause(NamedTuple):
    """Why a request failed.

    Attributes:
        reason: the reason of a job that ends with it.
        hint: how to fix it, one sentence without a period; empty if the reason's own hint is best.
        retryable: whether the same request may succeed soon.
    """

    reason: Reason
    hint: str = ""
    retryable: bool = False


SETTING: Final = "s3.{} in the chart's values, or the client's own setting"

_BUSY: Final = Cause(Reason.STORAGE_UNAVAILABLE, retryable=True)
_DENIED: Final = Cause(Reason.INPUT_ACCESS_DENIED)
_NO_CREDENTIALS: Final = Cause(
    Reason.INPUT_ACCESS_DENIED,
    "there are no credentials: set s3.existingSecret, or annotate the service account with a role",
)
_WRONG_KEYS: Final = Cause(
    Reason.INPUT_ACCESS_DENIED,
    "correct the access key in the S3 Secret, and check that it belongs to this endpoint",
)
_EXPIRED: Final = Cause(
    Reason.INPUT_ACCESS_DENIED,
    "the temporary credentials have expired: replace them in the S3 Secret, or use a role",
)
_ROLE: Final = Cause(
    Reason.INPUT_ACCESS_DENIED,
    "the role of the service account cannot be used: check its trust policy",
)
_REGION: Final = Cause(
    Reason.STORAGE_MISCONFIGURED,
    f"the bucket is in another region: correct {SETTING.format('region')}",
)
_ENDPOINT: Final = Cause(
    Reason.STORAGE_UNAVAILABLE,
    f"check {SETTING.format('endpoint')}, and DNS and network policies",
    retryable=True,
)
_CERTIFICATE: Final = Cause(
    Reason.STORAGE_MISCONFIGURED,
    "the server's certificate is not trusted: name its CA in s3.caBundle in the chart's values, or "
    "correct the certificate",
)
_PROXY: Final = Cause(
    Reason.STORAGE_UNAVAILABLE,
    "check s3.proxy in the chart's values, and HTTPS_PROXY and NO_PROXY",
    retryable=True,
)
_BUCKET: Final = Cause(
    Reason.INPUT_NOT_FOUND, "the bucket does not exist at this endpoint: check its name"
)
_BUCKET_NAME: Final = Cause(Reason.STORAGE_MISCONFIGURED, "correct the name of the bucket")
_KMS_DENIED: Final = Cause(
    Reason.ENCRYPTION_KEY_REFUSED,
    "allow kms:Decrypt and kms:GenerateDataKey to these credentials, in the key's policy too",
)
_KMS_STATE: Final = Cause(
    Reason.ENCRYPTION_KEY_REFUSED, "enable the KMS key, or encrypt the objects with another one"
)
_CUSTOMER_KEY: Final = Cause(
    Reason.ENCRYPTION_KEY_REFUSED,
    "the object is encrypted with a key of its own (SSE-C), which jobs cannot give: store it again "
    "with SSE-S3 or SSE-KMS",
)
_VERSION: Final = Cause(Reason.INPUT_NOT_FOUND, "check versionId: there is no such version")
_KEY: Final = Cause(Reason.UNSAFE_PATH, "use a key of at most 1,024 bytes without odd characters")
_FULL: Final = Cause(Reason.STORAGE_UNAVAILABLE, "the storage is full or over its quota")
_REFUSED: Final = Cause(
    Reason.STORAGE_MISCONFIGURED,
    "S3 does not understand the request: check endpoint, region and bucket",
)
_NO_DETAIL: Final = Cause(
    Reason.STORAGE_MISCONFIGURED,
    "S3 gives no detail: check the region, and whether temporary credentials have expired",
)

# By code. What is not listed is decided by the status.
CAUSES: Final[dict[str, Cause]] = {
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "AllAccessDisabled", "AccountProblem",
         "NotSignedUp", "InvalidPayer", "401", "403", "Forbidden", "Unauthorized"),
        _DENIED,
    ),
    **dict.fromkeys(
        ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidClientTokenId", "AuthFailure"),
        _WRONG_KEYS,
    ),
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "InvalidToken", "TokenRefreshRequired"), _EXPIRED
    ),
    **dict.fromkeys(
        ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError",
         "MetadataRetrievalError", "TokenRetrievalError"),
        _NO_CREDENTIALS,
    ),
    **dict.fromkeys(("InvalidIdentityToken", "IDPRejectedClaim", "IDPCommunicationError"), _ROLE),
    **dict.fromkeys(("RequestTimeTooSkewed", "RequestExpired"), Cause(Reason.CLOCK_SKEW)),
    **dict.fromkeys(
        ("PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
         "301", "307", "InvalidRegionError", "NoRegionError"),
        _REGION,
    ),
    # S3 sends it while the name of a new bucket spreads, with the address to use.
    "TemporaryRedirect": Cause(_REGION.reason, _REGION.hint, retryable=True),
    **dict.fromkeys(
        ("InvalidObjectState", "ObjectNotInActiveTierError"), Cause(Reason.INPUT_ARCHIVED)
    ),
    **dict.fromkeys(
        ("KMS.AccessDeniedException", "KMS.UnrecognizedClientException"), _KMS_DENIED
    ),
    **dict.fromkeys(("ServerSideEncryptionConfigurationNotFoundError",), _KMS_STATE),
    **dict.fromkeys(("KMS.ThrottlingException", "KMS.KMSInternalException"), _BUSY),
    **dict.fromkeys(("NoSuchKey", "404", "NotFound"), Cause(Reason.INPUT_NOT_FOUND)),
    **dict.fromkeys(("NoSuchVersion", "MethodNotAllowed", "405"), _VERSION),
    "NoSuchBucket": _BUCKET,
    "InvalidBucketName": _BUCKET_NAME,
    **dict.fromkeys(("PreconditionFailed", "412"), Cause(Reason.INPUT_INCOMPLETE)),
    **dict.fromkeys(("KeyTooLongError", "InvalidURI", "XMinioInvalidObjectName"), _KEY),
    **dict.fromkeys(
        ("QuotaExceeded", "InsufficientStorage", "XMinioStorageFull", "507", "EntityTooLarge",
         "XMinioAdminBucketQuotaExceeded"),
        _FULL,
    ),
    # An earlier try completed the upload and its answer was lost, or S3 lost the upload.
    "NoSuchUpload": _BUSY,
    **dict.fromkeys(
        ("SlowDown", "ServiceUnavailable", "InternalError", "RequestTimeout", "OperationAborted",
         "Throttling", "ThrottlingException", "RequestLimitExceeded", "BadDigest",
         "XAmzContentSHA256Mismatch", "IncompleteBody", "408", "409", "425", "429"),
        _BUSY,
    ),
    **dict.fromkeys(("EndpointConnectionError", "ConnectTimeoutError"), _ENDPOINT),
    **dict.fromkeys(
        ("ReadTimeoutError", "ConnectionClosedError", "HTTPClientError", "ConnectionError",
         "ResponseStreamingError", "IncompleteReadError", "S3UploadFailedError"),
        _BUSY,
    ),
    "SSLError": _CERTIFICATE,
    "ProxyConnectionError": _PROXY,
    "InvalidProxiesConfigError": Cause(_PROXY.reason, _PROXY.hint),
    "ParamValidationError": _BUCKET_NAME,
    "ResponseParserError": _REFUSED,
    "400": _NO_DETAIL,
}  # fmt: skip

# What a client says of credentials whose own error it must not repeat: it has the header.
UNSUITABLE: Final = "the credentials have a line break or other characters that no header may have"
# Answers of STS that have another cause than the same answer of S3.
_ASSUME_CAUSES: Final[dict[str, Cause]] = {
    **dict.fromkeys(
        ("AccessDenied", "AccessDeniedException", "403"),
        Cause(
            Reason.INPUT_ACCESS_DENIED,
            "the trust policy of the role must allow sts:AssumeRole (with EKS Pod Identity also "
            "sts:TagSession) to these credentials, with the external id of "
            "s3.assumeRole.externalId if it asks for one, and the policy of these credentials must "
            "allow it for the role",
        ),
    ),
    "NoCredentialsError": Cause(
        Reason.INPUT_ACCESS_DENIED,
        "there are no credentials to assume the role with: set s3.existingSecret, or annotate the "
        "service account with a role",
    ),
    **dict.fromkeys(
        ("ValidationError", "ParamValidationError", "400"),
        Cause(
            Reason.STORAGE_MISCONFIGURED,
            "STS does not understand the request: correct the ARN and the external id in "
            "s3.assumeRole of the chart's values",
        ),
    ),
    "RegionDisabledException": Cause(
        Reason.STORAGE_MISCONFIGURED,
        "STS is not active in this region: activate it in the account of the pods, or set "
        "s3.stsEndpoint to another region",
    ),
    **dict.fromkeys(
        ("InvalidAction", "NotImplemented", "MethodNotAllowed", "NoSuchBucket", "404", "405"),
        Cause(
            Reason.STORAGE_MISCONFIGURED, "this server is no STS: correct s3.stsEndpoint"
        ),
    ),
}  # fmt: skip
_NO_STS: Final = Cause(
    Reason.STORAGE_UNAVAILABLE,
    "check s3.stsEndpoint, DNS and network policies: operator, gateway and pods must reach STS",
    retryable=True,
)
# Errors of a client without an answer that have the same cause for STS as for S3.
_OF_ALL: Final = (
    "SSLError", "ProxyConnectionError", "InvalidProxiesConfigError", "InvalidAccessKeyId"
)  # fmt: skip
_OLD_SIGNATURE: Final = re.compile(r"signature (?:expired|not yet current)", re.IGNORECASE)

_KMS_ACTION: Final = re.compile(r"\bkms:\w+|\bkms key\b|aws kms", re.IGNORECASE)
_ASSUME: Final = re.compile(r"\bsts:Assume", re.IGNORECASE)
_VERSION_ID: Final = re.compile(r"version\s?id", re.IGNORECASE)
_CUSTOMER: Final = re.compile(r"server side encryption|SSE-C\b", re.IGNORECASE)


def cause(status: int, code: str, text: str = "") -> Cause:
    """Why S3 refused a request, or did not answer it.

    Args:
        status: the HTTP status; 0 when there was no answer.
        code: of S3, or the type of the client's error; empty if S3 gave none.
        text: S3's message; it decides where S3 uses one code for several causes.
    """
    code = code or str(status)
    if code in ("AccessDenied", "AccessDeniedException", "403"):
        if _KMS_ACTION.search(text):
            return _KMS_DENIED
        if _ASSUME.search(text):
            return _ROLE
    if code in ("InvalidArgument", "InvalidRequest"):
        if _VERSION_ID.search(text):
            return _VERSION
        if _CUSTOMER.search(text):
            return _CUSTOMER_KEY
    if found := CAUSES.get(code):
        return found
    if code.startswith("KMS."):
        return _KMS_STATE
    return _by_status(status)


def assume_cause(status: int, code: str, text: str = "") -> Cause:
    """Why STS did not give the role of ``s3.assumeRole``; arguments as of :func:`cause`."""
    code = code or str(status)
    if _OLD_SIGNATURE.search(text):
        return Cause(Reason.CLOCK_SKEW)
    if found := _ASSUME_CAUSES.get("404" if 300 <= status < 400 else code):
        return found
    return cause(status, code, text) if status or code in _OF_ALL else _NO_STS


def _by_status(status: int) -> Cause:
    """The cause of a code that is not listed."""
    if str(status) in CAUSES and status != 400:
        return CAUSES[str(status)]
    if 300 <= status < 400:
        return _REGION
    return _REFUSED if 400 <= status < 500 else _BUSY
