"""Answers to clients that a server refuses before it knows their request."""

import json
from dataclasses import dataclass
from typing import Any, Final

from nanogrid.reasons import Reason

RETRY_SECONDS: Final = 1

PHRASES: Final = {
    408: "Request Timeout",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client is refused before the application sees its request."""

    status: int
    message: str
    retry_after: int | None = None


def too_slow(seconds: float) -> Refusal:
    """408: the head of a request takes too long."""
    message = f"The head of the request is not complete after {seconds:g} s. Send it faster."
    return Refusal(408, message)


def too_many_slow_clients() -> Refusal:
    """408: no slot for another slow client is free."""
    return Refusal(408, "Too many clients send their requests slowly. Try again.")


def too_many_connections(most: int) -> Refusal:
    """429: all connections are in use."""
    message = f"There are {most} connections already, all with requests. Try again in a second."
    return Refusal(429, message, RETRY_SECONDS)


def error_body(refusal: Refusal) -> dict[str, Any]:
    """The body of a refusal: ``{"error": {"reason", "message"}}``."""
    reason = Reason.RATE_LIMITED if refusal.status == 429 else Reason.BAD_REQUEST
    return {"error": {"reason": reason.value, "message": refusal.message}}


def http_answer(refusal: Refusal, body: dict[str, Any]) -> bytes:
    """A whole HTTP answer, after which the connection ends."""
    data = json.dumps(body).encode()
    lines = [
        f"HTTP/1.1 {refusal.status} {PHRASES[refusal.status]}",
        "Connection: close",
        "Content-Type: application/json",
        f"Content-Length: {len(data)}",
    ]
    if refusal.retry_after is not None:
        lines.append(f"Retry-After: {refusal.retry_after}")
    return "\r\n".join([*lines, "", ""]).encode() + data
