"""What a webhook's answer means, when the next request follows, and which URLs are allowed. Pure.

The status is the outbox: ``status.delivery.webhook`` says what is still to be sent, so a restart
loses nothing. A receiver can get a result twice, because its answer may be lost. Both requests
have the same ``Idempotency-Key``.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urlsplit

from nanogrid.api.job import Spec
from nanogrid.backoff import exponential
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.model.errors import InvalidSpecError
from nanogrid_operator.settings import Settings

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
RETRYABLE_CODES = frozenset({408, 425, 429})  # client errors that mean "try again later"

# Encoded dots, slashes, backslashes, semicolons and percent signs, which is encoding them twice.
DOUBTFUL = ("%2e", "%2f", "%5c", "%3b", "%25", "\\")

PENDING, DELIVERED, REFUSED, GIVEN_UP = "Pending", "Delivered", "Refused", "GivenUp"
REASONS = {
    PENDING: Reason.WEBHOOK_PENDING,
    DELIVERED: Reason.WEBHOOK_ACCEPTED,
    REFUSED: Reason.WEBHOOK_REFUSED,
    GIVEN_UP: Reason.WEBHOOK_GIVEN_UP,
}


class Answer(NamedTuple):
    """The result of one request; ``status`` is None if there was no answer."""

    status: int | None
    message: str = ""
    retry_after: float | None = None  # seconds


@dataclass(frozen=True, slots=True)
class Record:
    """status.delivery.webhook."""

    state: str = PENDING
    attempts: int = 0
    last_status: int | None = None
    message: str = ""


def record_of(status: Json) -> Record | None:
    """The record in a job's status; None if the job has no webhook."""
    kept = (status.get("delivery") or {}).get("webhook")
    if not kept:
        return None
    return Record(
        kept.get("state", PENDING),
        kept.get("attempts", 0),
        kept.get("lastStatus"),
        kept.get("message", ""),
    )


def target(spec: Spec | None, settings: Settings) -> str | None:
    """Where a job's result is POSTed: the job's own URL, else the operator's, else None.

    Raises:
        InvalidSpecError: The operator does not allow the job's URL.
    """
    own = spec.delivery.webhook.url if spec and spec.delivery and spec.delivery.webhook else None
    if own is None:
        return settings.webhook_url or None
    if not allowed(own, settings.webhook_prefixes.split()):
        raise InvalidSpecError(
            f"delivery.webhook.url {own} is not below any URL that the operator allows: use "
            "another one, or add it to webhook.allowedUrlPrefixes in the chart's values"
        )
    return own


def allowed(url: str, prefixes: Iterable[str]) -> bool:
    """Whether a URL is below one of the prefixes: same scheme, host and port, and path.

    A job's author chooses the URL, and the operator sends the request from inside the cluster. So
    every URL that is not listed is refused, and every spelling that servers may read differently.
    """
    wanted = _parts(url)
    if wanted is None:
        return False
    for prefix in prefixes:
        allowed_parts = _parts(prefix)
        if allowed_parts is None or allowed_parts[:3] != wanted[:3]:
            continue
        folder = allowed_parts[3].rstrip("/")
        if wanted[3] == folder or wanted[3].startswith(folder + "/"):
            return True
    return False


def _parts(url: str) -> tuple[str, str, int, str] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    path = parts.path or "/"
    doubtful = any(c in path.lower() for c in DOUBTFUL)
    # Java servers remove what follows a semicolon before they look for dots.
    dots = any(part.partition(";")[0] in (".", "..") for part in path.split("/"))
    if not parts.hostname or "@" in parts.netloc or doubtful or dots:
        return None
    return parts.scheme, parts.hostname, port, path


def signature(key: str, timestamp: str, body: bytes) -> str:
    """The value of X-NanoGrid-Signature: HMAC-SHA256 over ``timestamp.body``, in hex."""
    mac = hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={mac.hexdigest()}"


def next_record(record: Record, answer: Answer, age: float, give_up: float) -> Record:
    """The record after one more answer, ``age`` seconds after the job's end."""
    code = answer.status
    after = replace(record, attempts=record.attempts + 1, last_status=code, message=answer.message)
    if code is not None and 200 <= code < 300:
        return replace(after, state=DELIVERED)
    if code is not None and 300 <= code < 400:
        message = f"HTTP {code}: redirects are not followed; configure the final URL"
        return replace(after, state=REFUSED, message=message)
    if code is not None and 400 <= code < 500 and code not in RETRYABLE_CODES:
        return replace(after, state=REFUSED)
    return replace(after, state=GIVEN_UP if age >= give_up else PENDING)


def pause(
    record: Record, answer: Answer, jitter: float, first: float = FIRST_PAUSE_SECONDS
) -> float:
    """Seconds until the next request.

    Args:
        record: The record after the last answer.
        answer: The last answer.
        jitter: A random factor between 0.8 and 1.2.
        first: The shortest pause, in seconds.
    """
    if answer.retry_after is not None:
        # Never earlier than the receiver asks for, and not for all jobs at the same moment.
        asked = min(max(answer.retry_after, 0.0), LONGEST_RETRY_AFTER_SECONDS)
        return max(first, asked) * max(1.0, jitter)
    return exponential(min(record.attempts - 1, 20), first, LONGEST_PAUSE_SECONDS) * jitter


def worth_writing(before: Record, after: Record) -> bool:
    """Whether to write the status: another state or answer, or twice as many attempts."""
    changed = (before.state, before.last_status) != (after.state, after.last_status)
    return changed or after.attempts & (after.attempts - 1) == 0
