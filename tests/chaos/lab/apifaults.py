"""Answers of a failing API server, and predicates over the calls to it."""

import json
from collections.abc import Callable

from chaos.lab.faults import Answer, Call


def status_answer(code: int, reason: str, *, retry_after: int | None = None) -> Answer:
    """An error in the format of the API server."""
    body = {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "reason": reason,
        "message": f"fault: {reason}",
        "code": code,
    }
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    return Answer(code, json.dumps(body).encode(), headers)


TOO_MANY = status_answer(429, "TooManyRequests", retry_after=1)
INTERNAL = status_answer(500, "InternalError")
UNAVAILABLE = status_answer(503, "ServiceUnavailable")
GATEWAY = status_answer(504, "Timeout")
CONFLICT = status_answer(409, "Conflict")
EXPIRED = status_answer(410, "Expired")
GONE_EVENT = Answer(
    200,
    b'{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","status":"Failure",'
    b'"reason":"Expired","message":"too old resource version","code":410}}\n',
    {"Content-Type": "application/json"},
)

VERBS: dict[str, Callable[[Call], bool]] = {
    "GET": lambda call: call.method == "GET" and not call.watch,
    "POST": lambda call: call.method == "POST",
    "PATCH": lambda call: call.method == "PATCH",
    "DELETE": lambda call: call.method == "DELETE",
    "watch": lambda call: call.watch,
}


def is_write(call: Call) -> bool:
    """Whether a call is not a GET: it changes or decides something."""
    return call.method != "GET"


def creates_pod(call: Call) -> bool:
    """Whether a call creates a pod."""
    return call.method == "POST" and call.path.endswith("/pods")
