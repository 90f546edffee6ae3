"""Errors of the API: one JSON shape with a reason, a message and a hint."""

from typing import Any

from nanogrid.hints import Surface, hint_for
from nanogrid.reasons import HELP, Reason
from nanogrid.refusals import Refusal
from nanogrid.s3.errors import S3Error

# Of the gateway's own access to S3; other reasons of S3 are about the inputs of jobs.
STORAGE_REASONS = (
    Reason.STORAGE_MISCONFIGURED,
    Reason.ENCRYPTION_KEY_REFUSED,
    Reason.CLOCK_SKEW,
)


class ApiError(Exception):
    """An answer other than success.

    Args:
        status: the HTTP status.
        reason: a code for programs.
        message: what is wrong, where, and without ``hint`` how to fix it; default is the reason's
            own text.
        hint: how a caller of the API fixes it. Other readers get the hint of the reason.
        retry_after: seconds after which the same request may succeed.
        found: what was found instead of what is needed, if that helps.
    """

    def __init__(
        self,
        status: int,
        reason: Reason,
        message: str = "",
        *,
        hint: str = "",
        retry_after: int | None = None,
        found: dict[str, Any] | None = None,
    ) -> None:
        self.text = message or HELP[reason].meaning
        self.hint = hint if message else hint_for(reason, Surface.HTTP)
        super().__init__(f"{self.text} {self.hint}".strip())
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.found = found

    def hint_on(self, surface: Surface) -> str:
        """The hint for readers of ``surface``; empty if the text says what to do."""
        api = surface is Surface.HTTP or not self.hint
        return self.hint if api else hint_for(self.reason, surface)

    def body(self, surface: Surface = Surface.HTTP) -> dict[str, Any]:
        """The JSON of the answer."""
        message = f"{self.text} {self.hint_on(surface)}".strip()
        error: dict[str, Any] = {"reason": self.reason.value, "message": message}
        if self.found is not None:
            error["found"] = self.found
        return {"error": error}


class StorageDenied(ApiError):
    """503: the gateway's own credentials do not reach an object; it may not exist."""


def refused(refusal: Refusal) -> ApiError:
    """408 or 429: the request came too slowly, or there are too many."""
    reason = Reason.RATE_LIMITED if refusal.status == 429 else Reason.BAD_REQUEST
    return ApiError(refusal.status, reason, refusal.message, retry_after=refusal.retry_after)


def too_many_attempts(seconds: int) -> ApiError:
    """429: this address shows too many tokens that are not valid."""
    message = "Too many requests without a valid token come from this address. "
    message += f"Check the token, and try again in {seconds} s."
    return ApiError(429, Reason.RATE_LIMITED, message, retry_after=seconds)


def bad_request(message: str) -> ApiError:
    """400: the request cannot be read; the message names the field."""
    return ApiError(400, Reason.BAD_REQUEST, message)


def invalid(message: str) -> ApiError:
    """422: the request is understood but cannot be served; the message names the field."""
    return ApiError(422, Reason.BAD_REQUEST, message)


def cluster_unavailable(detail: str) -> ApiError:
    """503: the Kubernetes API server did not answer properly."""
    message = f"The Kubernetes API server did not answer properly ({detail}). Try again."
    return ApiError(503, Reason.CLUSTER_UNAVAILABLE, message, retry_after=2)


def storage_failed(error: S3Error) -> ApiError:
    """503: S3 did not answer properly. A cause that time does not fix is named."""
    if error.cause.retryable:
        message = f"S3 did not answer properly ({error}). Try again."
        return ApiError(503, Reason.STORAGE_UNAVAILABLE, message, retry_after=2)
    reason = error.cause.reason
    reason = reason if reason in STORAGE_REASONS else Reason.STORAGE_UNAVAILABLE
    message = f"S3 refused the request of the gateway ({error}). Tell the platform team."
    kind = StorageDenied if error.unseen else ApiError
    return kind(503, reason, message)


def too_large(max_bytes: int) -> ApiError:
    """413: the body has more than ``max_bytes`` bytes."""
    message = f"The body has more than {max_bytes} bytes. Send less: put large data into S3 and "
    return ApiError(413, Reason.REQUEST_TOO_LARGE, message + "send only its name.")
