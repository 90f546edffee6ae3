"""What an answer of S3 means: from obstore's exceptions to the product's reasons. Pure."""

import re
from typing import Final

from nanogrid.reasons import Reason

_STATUS: Final = re.compile(r"status code: (\d{3})")
_CODE: Final = re.compile(r"<Code>([^<]*)</Code>")
_TEXT: Final = re.compile(r"<Message>([^<]*)</Message>")
_SERVER: Final = re.compile(r"Error performing \w+ (\w+://[^/\s]+)")
_KEY: Final = re.compile(r'\bpath: "([^"]*)"', re.IGNORECASE)
_CAUSE: Final = re.compile(r'\b(?:message|error): "([^"]+)"')
# S3 answers these with 400, and they are about who asks, not about what is asked.
_DENIED_CODES: Final = ("ExpiredToken", "InvalidToken", "InvalidAccessKeyId", "AccessDenied")
# A 403 that no other key mends: the signature holds the time.
_SKEWED_CODE: Final = "RequestTimeTooSkewed"
_INSTANCE_METADATA: Final = "169.254.169.254"
# Another region, or another endpoint: no repetition mends a wrong address.
_ELSEWHERE: Final = ("PermanentRedirect", "AuthorizationHeaderMalformed")
_BARE_REDIRECT: Final = "redirect without LOCATION"
# What the client's debug text calls an answer that does not come, in words for people.
_NO_ANSWER: Final = {
    "kind: Timeout": "it timed out",
    "TimedOut": "it timed out",
    "IncompleteMessage": "the connection was closed",
    "ConnectionReset": "the connection was reset",
    "error sending request": "the connection failed",
}


class StorageError(Exception):
    """S3 did not do what was asked; ``reason`` says why in the product's words."""

    def __init__(self, reason: Reason, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.retryable = retryable


def explain(error: Exception, uri: str) -> StorageError:
    """The reason behind an exception of obstore, whose text holds S3's answer."""
    from obstore import exceptions

    text = str(error)
    status = _first(_STATUS, text)
    code = _first(_CODE, text)
    said = f"{uri}: {_said(text, status, code)}"
    if isinstance(error, (ValueError, exceptions.InvalidPathError)):
        return StorageError(Reason.UNSAFE_PATH, f"{uri}: {_bad_key(text)}")
    if isinstance(error, exceptions.PreconditionError):
        return StorageError(Reason.INPUT_INCOMPLETE, f"{uri} changed while it was being read")
    if code == _SKEWED_CODE:
        return StorageError(Reason.CLOCK_SKEW, said)
    denied = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
    if isinstance(error, denied) or status in ("401", "403") or code in _DENIED_CODES:
        return StorageError(Reason.INPUT_ACCESS_DENIED, said)
    if code == "NoSuchUpload":  # completed by a try whose answer was lost, or forgotten by S3
        return StorageError(Reason.STORAGE_UNAVAILABLE, said, retryable=True)
    if isinstance(error, FileNotFoundError) or status == "404":
        return StorageError(Reason.INPUT_NOT_FOUND, said)
    if _INSTANCE_METADATA in text:
        return StorageError(Reason.INPUT_ACCESS_DENIED, f"{uri}: there are no credentials")
    elsewhere = code in _ELSEWHERE or _BARE_REDIRECT in text
    return StorageError(Reason.STORAGE_UNAVAILABLE, said, retryable=not elsewhere)


def _bad_key(text: str) -> str:
    """Which key obstore refuses, with its control characters escaped."""
    found = _KEY.search(text)
    shown = found.group(1) if found else " ".join(text.split())
    return f"the key {shown[:200]!a} has an empty, '.' or '..' part or a control character"


def _first(pattern: re.Pattern[str], text: str) -> str:
    match = pattern.search(text)
    return match.group(1) if match else ""


def _said(text: str, status: str, code: str) -> str:
    """What S3 said, short: obstore's own text runs over many lines."""
    message = _first(_TEXT, text)
    if code:
        return f"{code}: {message}" if message else code
    if status:
        return f"HTTP status {status}"
    # The operating system's word: refused, unknown name, ...; or ours.
    cause = _first(_CAUSE, text) or next((v for k, v in _NO_ANSWER.items() if k in text), "")
    server = _first(_SERVER, text)
    if _BARE_REDIRECT in text:
        return f"{server} redirects elsewhere: is the region, or the endpoint, another one?"
    if cause and server:
        return f"no answer from {server}: {cause}"
    if "body error" in text:
        return "its content ended too early"
    return text.splitlines()[0][:300]
