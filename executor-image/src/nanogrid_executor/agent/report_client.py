"""Posts a report to the operator's results endpoint and repeats this while it may help.

It uses no proxy from the environment, and follows no redirect that would carry the token elsewhere.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from nanogrid.backoff import jitter
from nanogrid_executor.agent import plain_http
from nanogrid_executor.agent.known_addresses import address_of, forget
from nanogrid_executor.agent.results_url import ResultsUrl, parse, with_path
from nanogrid_executor.log import log, warn

if TYPE_CHECKING:
    import http.client

HTTP_PORT: Final = 80
POST_TIMEOUT_SECONDS: Final = 5.0
FIRST_DELAY_SECONDS: Final = 0.2
LONGEST_DELAY_SECONDS: Final = 5.0
GIVE_UP_SECONDS: Final = 120.0
RETRYABLE: Final = (408, 429)  # the operator has many clients; another try may succeed


def url_of(results_url: str, path: str) -> str:
    """The URL of another path of the server that has the results endpoint."""
    return with_path(results_url, path)


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
    parts = parse(url)
    send = _post_with_tls if parts.scheme == "https" else _post_plain
    try:
        headers = {**authorization(token_file), "Content-Type": "application/json"}
        return send(parts, body, headers)
    except OSError as error:
        return str(error) or type(error).__name__


def _post_plain(url: ResultsUrl, body: bytes, headers: dict[str, str]) -> int:
    address = (address_of(url.host), url.port or HTTP_PORT)
    try:
        return plain_http.post(
            address, url.authority, url.path, body, headers, POST_TIMEOUT_SECONDS
        )
    except OSError:
        forget(url.host)  # the operator's Service may have been created again
        raise


def _post_with_tls(url: ResultsUrl, body: bytes, headers: dict[str, str]) -> int:
    import http.client  # late: few installations have TLS between agent and operator

    connection = _connection(url, POST_TIMEOUT_SECONDS)
    try:
        connection.request("POST", url.path, body, headers)
        return connection.getresponse().status
    except http.client.HTTPException as error:
        raise ConnectionError(str(error) or type(error).__name__) from error
    finally:
        connection.close()


def connect(url: str, seconds: float) -> "http.client.HTTPConnection":
    """A connection to the server of a URL, opened by its first request.

    Args:
        url: http or https.
        seconds: for each step of the connection and of its requests.
    """
    return _connection(parse(url), seconds)


def _connection(url: ResultsUrl, seconds: float) -> "http.client.HTTPConnection":
    import http.client

    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    return kind(url.host, url.port, timeout=seconds)


def authorization(token_file: str) -> dict[str, str]:
    """The header that shows which pod asks.

    Raises:
        OSError: the token file cannot be read.
    """
    # Read each time: the kubelet replaces the token before it expires.
    with open(token_file, encoding="ascii") as file:
        token = file.read().strip()
    return {"Authorization": f"Bearer {token}"}
