"""Handing a report to the operator: the results endpoint over HTTP, again and again if need be.

``http.client`` and not ``urllib.request``: no proxy from the environment, no redirect that would
carry the token elsewhere, and half of the import time.
"""

import random
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from nanogrid_executor.log import log

POST_TIMEOUT_SECONDS: Final = 5.0
FIRST_DELAY_SECONDS: Final = 0.2
LONGEST_DELAY_SECONDS: Final = 5.0
GIVE_UP_SECONDS: Final = 120.0
TOO_MANY_REQUESTS: Final = 429


def post_until_taken(
    url: str, token_file: str, body: bytes, pause: Callable[[float], None] = time.sleep
) -> bool:
    """POST ``body`` until the operator takes or refuses it; True when it took it."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    delay = FIRST_DELAY_SECONDS
    tries = 0
    while True:
        tries += 1
        answer = post_once(url, token_file, body)
        if isinstance(answer, int) and 200 <= answer < 300:
            log("report-delivered", tries=tries)
            return True
        if isinstance(answer, int) and answer < 500 and answer != TOO_MANY_REQUESTS:
            log("report-refused", status=answer, tries=tries)
            return False
        wait = delay * random.uniform(0.5, 1.0)  # noqa: S311 jitter is no secret
        if time.monotonic() + wait > deadline:
            log("report-undelivered", last=answer, tries=tries)
            return False
        log("report-retry", last=answer, seconds=f"{wait:.2f}")
        pause(wait)
        delay = min(delay * 2, LONGEST_DELAY_SECONDS)


def post_once(url: str, token_file: str, body: bytes) -> int | str:
    """One POST: the HTTP status, or why there is none."""
    import http.client  # late: see agent._warm_up

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    try:
        connection = kind(parts.hostname or "", parts.port, timeout=POST_TIMEOUT_SECONDS)
        try:
            connection.request("POST", parts.path or "/", body, _headers(token_file))
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def _headers(token_file: str) -> dict[str, str]:
    # Read each time: the kubelet replaces the token before it expires.
    with open(token_file, encoding="ascii") as file:
        token = file.read().strip()
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
