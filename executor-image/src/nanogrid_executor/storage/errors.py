"""From the exceptions of obstore to reasons. Pure."""

import re
from typing import Final

from nanogrid.reasons import Reason

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]*)</Code>")
_TEXT: Final = re.compile(r"<Message>([^<]*)</Message>")
_SERVER: Final = re.compile(r"Error performing \w+ (\w+://[^/\s]+)")
_KEY: Final = re.compile(r'\bpath: "([^"]*)"', re.IGNORECASE)
_CAUSE: Final = re.compile(r'\b(?:message|error): "([^"]+)"')
# S3 answers these with 400, but they concern the credentials and not the request.
_DENIED_CODES: Final = ("ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "AccessDenied")
# A 403 that other credentials do not fix: the signature contains the time.
_SKEWED_CODE: Final = "RequestTimeTooSkewed"
_INSTANCE_METADATA: Final = "169.254.169.254"
# Another region or another endpoint: a retry does not fix a wrong address.
_ELSEWHERE: Final = ("PermanentRedirect", "AuthorizationHeaderMalformed")
_BARE_REDIRECT: Final = "redirect without LOCATION"
# From the debug text of the client to a plain cause of a missing answer.
_NO_ANSWER: Final = {
    "kind: Timeout": "it timed out",
    "TimedOut": "it timed out",
    "IncompleteMessage": "the connection was closed",
    "ConnectionReset": "the connection was reset",
    "error sending request": "the connection failed",
}


class StorageError(Exception):
    """A request to S3 failed; ``reason`` is why, ``retryable`` whether the error may pass."""

    def __init__(self, reason: Reason, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


def explain(error: Exception, uri: str) -> StorageError:
    """The error with its reason, for an exception of obstore, whose text holds S3's answer."""
    from obstore import exceptions

    text = str(error)
    status = _first(_STATUS, text)
    code = _first(_CODE, text)
    message = f"{uri}: {_message(text, status, code)}"
    if isinstance(error, (ValueError, exceptions.InvalidPathError)):
        return StorageError(Reason.UNSAFE_PATH, f"{uri}: {_bad_key(text)}")
    if isinstance(error, exceptions.PreconditionError):
        return StorageError(Reason.INPUT_INCOMPLETE, f"{uri} changed while it was being read")
    if code == _SKEWED_CODE:
        return StorageError(Reason.CLOCK_SKEW, message)
    denied = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    if isinstance(error, denied) or status in ("401", "403") or code in _DENIED_CODES:
        return StorageError(Reason.INPUT_ACCESS_DENIED, message)
    if code == "NoSuchUpload":  # an earlier try completed it and the answer was lost, or S3 lost it
        return StorageError(Reason.STORAGE_UNAVAILABLE, message, retryable=True)
    if isinstance(error, FileNotFoundError) or status == "404":
        return StorageError(Reason.INPUT_NOT_FOUND, message)
    if _INSTANCE_METADATA in text:
        return StorageError(Reason.INPUT_ACCESS_DENIED, f"{uri}: there are no credentials")
    elsewhere = code in _ELSEWHERE or _BARE_REDIRECT in text
    return StorageError(Reason.STORAGE_UNAVAILABLE, message, retryable=not elsewhere)


def _bad_key(text: str) -> str:
    """The key that obstore refuses, with its control characters escaped."""
    found = _KEY.search(text)
    shown = found.group(1) if found else " ".join(text.split())
    return f"the key {shown[:200]!a} has an empty, '.' or '..' part or a control character"


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1) if match else ""


def _message(text: str, status: str, code: str) -> str:
    """The answer of S3 in one line: the text of obstore has many."""
    detail = _first(_TEXT, text)
    if code:
        return f"{code}: {detail}" if detail else code
    if status:
        return f"HTTP status {status}"
    # The error of the operating system (refused, unknown name, ...), or ours.
    cause = _first(_CAUSE, text) or next((v for k, v in _NO_ANSWER.items() if k in text), "")
    server = _first(_SERVER, text)
    if _BARE_REDIRECT in text:
        return f"{server} redirects elsewhere: check the region and the endpoint"
    if cause and server:
        return f"no answer from {server}: {cause}"
    if "body error" in text:
        return "its content ended too early"
    return text.splitlines()[0][:300]
