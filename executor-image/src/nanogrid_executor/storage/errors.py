"""From the exceptions of obstore to reasons. Pure: the table is in nanogrid.storage_causes."""

import re
from typing import Final

from nanogrid.reasons import Reason
from nanogrid.storage_causes import cause

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]*)</Code>")
_TEXT: Final = re.compile(r"<Message>([^<]*)</Message>")
_REGION: Final = re.compile(r"<Region>([a-z0-9-]+)</Region>")
_SERVER: Final = re.compile(r"Error performing \w+ (\w+://[^/\s]+)")
_KEY: Final = re.compile(r'\bpath: "([^"]*)"', re.IGNORECASE)
_CAUSE: Final = re.compile(r'\b(?:message|error): "([^"]+)"')
_CERTIFICATE: Final = re.compile(r"InvalidCertificate\(\s*(\w+)")
# Where the client asks for credentials: instance metadata, ECS, EKS Pod Identity.
_METADATA: Final = re.compile(
    r"//(?:169\.254\.169\.254|169\.254\.170\.2|169\.254\.170\.23|\[fd00:ec2::(?:254|23)\])[:/]"
)
_BARE_REDIRECT: Final = "redirect without LOCATION"
_PROXY: Final = re.compile(r"tunnel error|ProxyConnect|proxy authorization", re.IGNORECASE)
# From the debug text of the client to a plain cause of a missing answer.
_NO_ANSWER: Final = {
    "kind: Timeout": "it timed out",
    "TimedOut": "it timed out",
    "IncompleteMessage": "the connection was closed",
    "ConnectionReset": "the connection was reset",
    "error sending request": "the connection failed",
}
_CERTIFICATES: Final = {
    "UnknownIssuer": "its certificate is signed by an unknown CA",
    "NotValidForName": "its certificate is for another name",
    "NotValidForNameContext": "its certificate is for another name",
    "Expired": "its certificate has expired",
    "ExpiredContext": "its certificate has expired",
}


class StorageError(Exception):
    """A request to S3 failed; ``reason`` is why, ``retryable`` whether the error may pass.

    ``bare``: S3 refused the request and did not say why, as in every answer to a HEAD.
    ``elsewhere``: the bucket is in another region, which S3 did not name.
    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        retryable: bool = False,
        bare: bool = False,
        elsewhere: bool = False,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable
        self.bare = bare
        self.elsewhere = elsewhere


def explain(error: Exception, uri: str) -> StorageError:
    """The error with its reason, for an exception of obstore, whose text holds S3's answer."""
    from obstore import exceptions

    text = str(error)
    if isinstance(error, (ValueError, exceptions.InvalidPathError)):
        return StorageError(Reason.UNSAFE_PATH, f"{uri}: {_bad_key(text)}")
    if isinstance(error, exceptions.PreconditionError):
        return StorageError(Reason.INPUT_INCOMPLETE, f"{uri} changed while it was being read")
    status, code = _status(error, text), _code(text)
    found = cause(status, code, _first(_TEXT, text))
    message = f"{uri}: {_message(text, status, code)}"
    if region := _first(_REGION, text):
        message += f", the bucket is in {region}"
    if found.hint:
        message += f" ({found.hint})"
    return StorageError(
        found.reason,
        message,
        retryable=found.retryable,
        bare=status in (400, 403) and not code,
        elsewhere=_BARE_REDIRECT in text,
    )


def _bad_key(text: str) -> str:
    """The key that obstore refuses, with its control characters escaped."""
    found = _KEY.search(text)
    shown = found.group(1) if found else " ".join(text.split())
    return f"the key {shown[:200]!a} has an empty, '.' or '..' part or a control character"


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1) if match else ""


def _status(error: Exception, text: str) -> int:
    """The HTTP status; 0 if there was no answer."""
    from obstore import exceptions

    if found := _first(_STATUS, text):
        return int(found)
    if _BARE_REDIRECT in text:
        return 301
    if isinstance(error, FileNotFoundError):
        return 404
    denied = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    return 403 if isinstance(error, denied) else 0


def _code(text: str) -> str:
    """The code of S3, or what the table calls an error of the client."""
    if code := _first(_CODE, text):
        return code
    if _METADATA.search(text):
        return "NoCredentialsError"
    if "InvalidCertificate" in text:
        return "SSLError"
    if _PROXY.search(text):
        return "ProxyConnectionError"
    unreachable = "tcp connect error" in text or "dns error" in text
    return "EndpointConnectionError" if unreachable else ""


def _message(text: str, status: int, code: str) -> str:
    """The answer of S3 in one line: the text of obstore has many."""
    server = _first(_SERVER, text)
    if _BARE_REDIRECT in text:
        return f"{server} redirects elsewhere: check the region and the endpoint"
    if status and code:
        detail = _first(_TEXT, text)
        return f"{code}: {detail}" if detail else code
    if status:
        return f"HTTP status {status}"
    if code == "NoCredentialsError":
        return code
    # The error of the operating system (refused, unknown name, ...), or ours.
    certificate = _CERTIFICATES.get(_first(_CERTIFICATE, text), "its certificate is not trusted")
    reason = certificate if code == "SSLError" else _first(_CAUSE, text)
    reason = reason or next((v for k, v in _NO_ANSWER.items() if k in text), "")
    if reason and server:
        return f"no answer from {server}: {reason}"
    if "body error" in text:
        return "its content ended too early"
    return text.splitlines()[0][:300]
