"""Posts a report to the operator's results endpoint and repeats this while it may help.

``http.client`` and not ``urllib.request``: it uses no proxy from the environment, follows no
redirect that would carry the token elsewhere, and takes half of the import time.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

from nanogrid.backoff import jitter
from nanogrid_executor.log import log, warn

if TYPE_CHECKING:
    import http.client

POST_TIMEOUT_SECONDS: Final = 5.0
FIRST_DELAY_SECONDS: Final = 0.2
LONGEST_DELAY_SECONDS: Final = 5.0
GIVE_UP_SECONDS: Final = 120.0
RETRYABLE: Final = (408, 429)  # the operator has many clients; another try may succeed


def url_of(results_url: str, path: str) -> str:
    """The URL of another path of the server that has the results endpoint."""
    return urlunsplit((*urlsplit(results_url)[:2], path, "", ""))


def post_until_taken(
    url: str, token_file: str, body: bytes, pause: Callable[[float], None] = time.sleep
) -> bool:
    """POST ``body`` until the operator accepts or refuses it; True when it accepted it."""
    deadline = time.monotonic() + GIVE_UP_SECONDS
    delay = FIRST_DELAY_SECONDS
    tries = 0
    while True:
        tries += 1
        answer = post_once(url, token_file, body)
        if isinstance(answer, int) and 200 <= answer < 300:
            log("report-delivered", tries=tries)
            return True
        if is_refusal(answer):
            warn("report-refused", status=answer, tries=tries)
            return False
        wait = jitter(delay)
        if time.monotonic() + wait > deadline:
            warn("report-undelivered", last=answer, tries=tries)
            return False
        warn("report-retry", last=answer, seconds=f"{wait:.2f}")
        pause(wait)
        delay = min(delay * 2, LONGEST_DELAY_SECONDS)


def is_refusal(answer: int | str) -> bool:
    """Whether another try is useless: the operator refuses the body or does not know the path."""
    return isinstance(answer, int) and 400 <= answer < 500 and answer not in RETRYABLE


def post_once(url: str, token_file: str, body: bytes) -> int | str:
    """One POST: the HTTP status, or the error when there is no answer."""
    import http.client  # late: see persist.import_late_modules

    try:
        connection = connect(url, POST_TIMEOUT_SECONDS)
        try:
            headers = {**authorization(token_file), "Content-Type": "application/json"}
            connection.request("POST", urlsplit(url).path or "/", body, headers)
            return connection.getresponse().status
        finally:
            connection.close()
    except (OSError, http.client.HTTPException) as error:
        return str(error) or type(error).__name__


def connect(url: str, seconds: float) -> "http.client.HTTPConnection":
    """A connection to the server of a URL, opened by its first request.

    Args:
        url: http or https.
        seconds: for each step of the connection and of its requests.
    """
    import http.client

    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return kind(parts.hostname or "", parts.port, timeout=seconds)


def authorization(token_file: str) -> dict[str, str]:
    """The header that shows which pod asks.

    Raises:
        OSError: the token file cannot be read.
    """
    # Read each time: the kubelet replaces the token before it expires.
    with open(token_file, encoding="ascii") as file:
        token = file.read().strip()
    return {"Authorization": f"Bearer {token}"}
