"""What a webhook's answer means, when it is asked again, and which URLs a job may name. Pure.

The CR is the outbox here as well: ``status.delivery.webhook`` says what is still to be told, so a
restart forgets nothing. A receiver can get a result twice (its answer may be lost), with the same
``Idempotency-Key``.
"""

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import NamedTuple
from urllib.parse import urlsplit

from nanogrid.job import Spec
from nanogrid.reasons import Reason
from nanogrid_operator.facts import Json
from nanogrid_operator.settings import Settings
from nanogrid_operator.task import InvalidSpecError

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 300.0
LONGEST_RETRY_AFTER_SECONDS = 3600.0
PASSING_CODES = frozenset({408, 425, 429})  # the client errors that mean "later"

PENDING, DELIVERED, REFUSED, GIVEN_UP = "Pending", "Delivered", "Refused", "GivenUp"
REASONS = {
    PENDING: Reason.WEBHOOK_PENDING,
    DELIVERED: Reason.WEBHOOK_ACCEPTED,
    REFUSED: Reason.WEBHOOK_REFUSED,
    GIVEN_UP: Reason.WEBHOOK_GIVEN_UP,
}


class Answer(NamedTuple):
    """What became of one request; ``status`` is None when there was no answer."""

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
    """What the status of a job says of its webhook; None if it has none."""
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
    """Where a job's result is POSTed: the job's own URL, else the operator's, else nowhere.

    Raises:
        InvalidSpecError: the job names a URL that the operator does not allow.
    """
    own = spec.delivery.webhook.url if spec and spec.delivery and spec.delivery.webhook else None
    if own is None:
        return settings.webhook_url or None
    if not allowed(own, settings.webhook_prefixes.split()):
        raise InvalidSpecError(
            f"delivery.webhook.url {own} lies below none of the URLs that the operator allows: "
            "use another one, or have it added to webhook.allowedUrlPrefixes in the chart's values"
        )
    return own


def allowed(url: str, prefixes: Iterable[str]) -> bool:
    """Whether a URL lies below one of the prefixes: same scheme, host and port, and path.

    A job's author chooses the URL and the operator sends the request, from inside the cluster: what
    is not listed is refused, and so is every spelling that a server might read differently.
    """
    there = _parts(url)
    if there is None:
        return False
    for prefix in prefixes:
        here = _parts(prefix)
        if here is None or here[:3] != there[:3]:
            continue
        folder = here[3].rstrip("/")
        if there[3] == folder or there[3].startswith(folder + "/"):
            return True
    return False


def _parts(url: str) -> tuple[str, str, int, str] | None:
    try:
        parts = urlsplit(url)
        port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    except (ValueError, KeyError):
        return None
    path = parts.path or "/"
    doubtful = any(c in path.lower() for c in ("%2e", "%2f", "%5c", "\\"))
    dots = any(part in (".", "..") for part in path.split("/"))
    if not parts.hostname or "@" in parts.netloc or doubtful or dots:
        return None
    return parts.scheme, parts.hostname, port, path


def signature(key: str, timestamp: str, body: bytes) -> str:
    """The value of X-NanoGrid-Signature: HMAC-SHA256 over ``timestamp.body``, in hex."""
    mac = hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={mac.hexdigest()}"


def judged(record: Record, answer: Answer, age: float, give_up: float) -> Record:
    """The record after one more answer, ``age`` seconds after the job's end."""
    code = answer.status
    asked = replace(record, attempts=record.attempts + 1, last_status=code, message=answer.message)
    if code is not None and 200 <= code < 300:
        return replace(asked, state=DELIVERED)
    if code is not None and 300 <= code < 400:
        said = f"HTTP {code}: redirects are not followed; configure the final URL"
        return replace(asked, state=REFUSED, message=said)
    if code is not None and 400 <= code < 500 and code not in PASSING_CODES:
        return replace(asked, state=REFUSED)
    return replace(asked, state=GIVEN_UP if age >= give_up else PENDING)


def pause(record: Record, answer: Answer, jitter: float) -> float:
    """Seconds until the next request; ``jitter`` is a number between 0.8 and 1.2."""
    if answer.retry_after is not None:
        # Never earlier than asked for, and not all at the same moment.
        asked = min(max(answer.retry_after, 0.0), LONGEST_RETRY_AFTER_SECONDS)
        return max(FIRST_PAUSE_SECONDS, asked) * max(1.0, jitter)
    doubled: float = FIRST_PAUSE_SECONDS * (1 << min(record.attempts - 1, 20))
    return min(LONGEST_PAUSE_SECONDS, doubled) * jitter


def worth_writing(before: Record, after: Record) -> bool:
    """Whether the status has to say it: another state or answer, or twice as many attempts."""
    changed = (before.state, before.last_status) != (after.state, after.last_status)
    return changed or after.attempts & (after.attempts - 1) == 0
