"""What the API answers when it does not do what was asked: one shape, a reason, a way to mend."""

from typing import Final

from nanogrid.reasons import Reason

RETRY_SECONDS: Final = 1


class ApiError(Exception):
    """An answer other than success; ``message`` says what, where, and how to mend it."""

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
        """The JSON of the answer; ``more`` stands beside ``error``."""
        return {"error": {"reason": self.reason.value, "message": str(self)}, **self.more}


def bad_request(message: str) -> ApiError:
    """400: the request cannot be understood."""
    return ApiError(400, Reason.BAD_REQUEST, message)


def ending(reason: Reason) -> ApiError:
    """503: the session takes nothing new; ``reason`` is why it ends."""
    said = f"The session is ending ({reason.value}). Start a new session."
    return ApiError(503, reason, said, more={"status": "ending"})


def initializing(message: str) -> ApiError:
    """503: not yet."""
    more: dict[str, object] = {"status": "initializing"}
    return ApiError(503, Reason.INITIALIZING, message, retry_after=RETRY_SECONDS, more=more)
