"""What the API answers when it does not do what was asked: one shape, a reason, a way to mend."""

from typing import Any

from nanogrid.reasons import HELP, Reason


class ApiError(Exception):
    """An answer other than success.

    Args:
        status: the HTTP status.
        reason: one word for programs.
        message: what, where and how to mend it; default is the reason's own text.
        retry_after: seconds after which the same request may work.
        found: what was found instead of what was needed, if that helps.
    """

    def __init__(
        self,
        status: int,
        reason: Reason,
        message: str = "",
        *,
        retry_after: int | None = None,
        found: dict[str, Any] | None = None,
    ) -> None:
        help_ = HELP[reason]
        super().__init__(message or f"{help_.meaning} {help_.cure}")
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.found = found

    def body(self) -> dict[str, Any]:
        """The JSON of the answer."""
        error: dict[str, Any] = {"reason": self.reason.value, "message": str(self)}
        if self.found is not None:
            error["found"] = self.found
        return {"error": error}


def invalid(message: str) -> ApiError:
    """422: the request is understood and cannot be done as it is; the message names the field."""
    return ApiError(422, Reason.BAD_REQUEST, message)


def cluster_away(detail: str) -> ApiError:
    """503: the Kubernetes API server did not answer properly."""
    said = f"The Kubernetes API server did not answer properly ({detail}). Try again."
    return ApiError(503, Reason.CLUSTER_UNAVAILABLE, said, retry_after=2)


def storage_away(detail: str) -> ApiError:
    """503: S3 did not answer properly."""
    said = f"S3 did not answer properly ({detail}). Try again."
    return ApiError(503, Reason.STORAGE_UNAVAILABLE, said, retry_after=2)


def too_large(max_bytes: int) -> ApiError:
    """413: the body has more bytes than this."""
    said = f"The body has more than {max_bytes} bytes. Send less; large data goes to S3, and only "
    return ApiError(413, Reason.REQUEST_TOO_LARGE, said + "its name into the request.")
