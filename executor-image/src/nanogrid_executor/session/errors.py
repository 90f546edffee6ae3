"""The API's error responses: all have the same shape, a reason and a hint."""

from typing import Final

from nanogrid.reasons import Reason

RETRY_SECONDS: Final = 1


class ApiError(Exception):
    """An error response; ``message`` says what failed, where, and how to fix it."""

    def __init__(
        self,
        status: int,
        reason: Reason,
        message: str,
        *,
        retry_after: int | None = None,
        more: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.retry_after = retry_after
        self.more = more or {}

    def body(self) -> dict[str, object]:
        """The response's JSON; the fields of ``more`` are next to ``error``."""
        return {"error": {"reason": self.reason.value, "message": str(self)}, **self.more}


def bad_request(message: str) -> ApiError:
    """400: the request is invalid."""
    return ApiError(400, Reason.BAD_REQUEST, message)


def ending(reason: Reason) -> ApiError:
    """503: the session accepts no more requests; ``reason`` is why it ends."""
    message = f"The session is ending ({reason.value}). Start a new session."
    return ApiError(503, reason, message, more={"status": "ending"})


def initializing(message: str) -> ApiError:
    """503: the session is not ready yet."""
    more: dict[str, object] = {"status": "initializing"}
    return ApiError(503, Reason.INITIALIZING, message, retry_after=RETRY_SECONDS, more=more)
