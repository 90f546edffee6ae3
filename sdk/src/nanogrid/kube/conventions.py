"""Conventions of the Kubernetes API: paths, queries, errors, and when to retry. Pure.

The asynchronous client (:mod:`nanogrid.kube.client`) and the synchronous one
(:mod:`nanogrid.client.kube.cluster`) share them.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from nanogrid import names
from nanogrid.backoff import exponential, jitter
from nanogrid.types import Json

CORE: Final = "/api/v1"
JOBS: Final = f"/apis/{names.GROUP}/{names.VERSION}"
TOKEN_REVIEWS: Final = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 a path
AUTHORIZATION: Final = "/apis/authorization.k8s.io/v1"
PAGE: Final = 500  # objects per request of a LIST
MERGE_PATCH: Final = "application/merge-patch+json"
TEXT_BYTES: Final = 500  # of an answer that is not a Status


class KubeError(Exception):
    """An answer of the API server that is not a success.

    Attributes:
        code: the HTTP status; 0 when there was no answer.
        reason: of the Status object, for example NotFound; for code 0 the type of the error.
        message: of the Status object.
        retry_after: seconds that the server asks the client to wait; 0 when it does not ask.
    """

    def __init__(self, code: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{code} {reason}".rstrip() + f": {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """When to send a request again. Times are in seconds.

    Attributes:
        codes: HTTP statuses to retry; 0 stands for no answer.
        tries: at most so many in all.
        first: the first pause; each next one is twice as long.
        patience: a longer Retry-After goes to the caller, whose queue waits better.
        most: the jitter multiplies a pause by at most this; never by less than 1.
    """

    codes: frozenset[int]
    tries: int = 4
    first: float
    patience: float
    most: float

    def pause(self, code: int, retry_after: float, attempt: int) -> float | None:
        """Seconds before the next try; None when the caller gets the error.

        Args:
            code: the HTTP status, or 0.
            retry_after: what the server asks for; no request comes sooner.
            attempt: tries before this one.
        """
        last = attempt + 1 >= self.tries
        if code not in self.codes or last or retry_after > self.patience:
            return None
        return jitter(max(retry_after, exponential(attempt, self.first)), 1.0, self.most)


def collection(base: str, plural: str, namespace: str | None = None) -> str:
    """Path of a collection, in one namespace or in all."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{base}{scope}/{plural}"


def selectors(labels: str, fields: str) -> dict[str, str]:
    """The query of a LIST or WATCH for these selectors; an empty one is left out."""
    wanted = {"fieldSelector": fields, "labelSelector": labels}
    return {key: value for key, value in wanted.items() if value}


def watch_query(version: str, seconds: int, labels: str, fields: str) -> dict[str, str]:
    """The query of a WATCH after a resourceVersion; the server takes whole seconds, at least 1."""
    return {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": version,
        "timeoutSeconds": str(max(1, seconds)),
    } | selectors(labels, fields)


def refusal(code: int, body: bytes, headers: Mapping[str, str]) -> KubeError:
    """The error of an answer; a body that is not a Status object is quoted."""
    after = headers.get("Retry-After", "")
    # The API server gives whole seconds; anything else counts as none.
    seconds = float(after) if after.isdecimal() else 0.0
    try:
        status = json.loads(body)
        reason, message = str(status.get("reason", "")), str(status.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", body[:TEXT_BYTES].decode(errors="replace")
    return KubeError(code, reason, message, seconds)


def watch_error(status: Json) -> KubeError:
    """The error of a watch event of type ERROR; code 410: the resourceVersion is too old."""
    code = int(status.get("code", 0))
    return KubeError(code, status.get("reason", ""), status.get("message", ""))
