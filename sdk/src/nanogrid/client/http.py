"""HTTP and JSON to the gateway and to sessions, with a bearer token and errors of the client."""

import json
from collections.abc import Mapping
from typing import Any, Final

import urllib3
from urllib3.exceptions import HTTPError

from nanogrid import json_text
from nanogrid.client.configured import shown_url
from nanogrid.client.errors import ApiError, Unreachable, api_error
from nanogrid.client.kube.pod_tunnel import PodTunnel
from nanogrid.client.tracing import current_trace
from nanogrid.traces.context import headers_of
from nanogrid.types import Json

CONNECT_SECONDS: Final = 10.0
USER_AGENT: Final = "nanogrid-client"


class Http:
    """Requests to one base URL. Safe for threads; close it after use.

    Args:
        base: begin of each URL; "" with a tunnel.
        token: a bearer token; "" for none.
        tunnel: leads to the server instead of the network.
    """

    def __init__(self, base: str, token: str = "", tunnel: PodTunnel | None = None) -> None:
        self._base = base.rstrip("/")
        self._token = token
        # No proxy: the server is in the cluster or on this machine.
        self._direct = urllib3.PoolManager(maxsize=8)
        self._tunnel = tunnel
        pool: urllib3.PoolManager | urllib3.HTTPConnectionPool = self._direct
        self._pool = pool if tunnel is None else tunnel.pool

    def close(self) -> None:
        """Close the connections."""
        self._direct.clear()
        if self._tunnel is not None:
            self._tunnel.close()

    def send(
        self,
        method: str,
        path: str,
        *,
        body: Json | None = None,
        content: Any = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float = 60.0,
        preload: bool = True,
    ) -> urllib3.BaseHTTPResponse:
        """The answer, if its status is below 300; ``content`` is a raw body (bytes or a file).

        Raises:
            ApiError: the status is 300 or higher.
            Unreachable: there is no answer.
        """
        trace = headers_of(current_trace())
        sent = (
            {"Accept": "application/json", "User-Agent": USER_AGENT} | trace | dict(headers or {})
        )
        if self._token:
            sent["Authorization"] = f"Bearer {self._token}"
        if body is not None:
            sent["Content-Type"] = "application/json"
            content = json.dumps(body).encode()
        try:
            answer = self._pool.request(
                method,
                self._base + path,
                body=content,
                headers=sent,
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=read_seconds),
                retries=False,
                preload_content=preload,
            )
            if answer.status >= 300:
                raise _refusal(answer)
        except (HTTPError, OSError) as e:
            message = f"{shown_url(self._base) or 'the pod'} does not answer: {e}."
            raise Unreachable(0, type(e).__name__, message) from e
        return answer

    def json(self, method: str, path: str, **options: Any) -> Json:
        """The JSON of the answer; see send."""
        return json_of(self.send(method, path, **options))


def json_of(answer: urllib3.BaseHTTPResponse) -> Json:
    """The JSON object of an answer.

    Raises:
        Unreachable: the body is not a JSON object, so another server answers.
    """
    try:
        found = json_text.parse(answer.data)
    except ValueError as e:
        raise Unreachable(0, "NotJson", f"the answer is not JSON: {e}.") from e
    if not isinstance(found, dict):
        raise Unreachable(0, "NotJson", "the answer is not a JSON object.")
    return found


def seconds_of(headers: Mapping[str, str], default: float = 0.0) -> float:
    """Retry-After in seconds."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else default


def _refusal(answer: urllib3.BaseHTTPResponse) -> ApiError:
    data = answer.data if answer.data is not None else b""
    try:
        body = json_text.parse(data)
        error = body.get("error") or {}
        reason, message = str(error.get("reason", "")), str(error.get("message", ""))
        if not message:  # /health has a state instead of an error
            message = f"HTTP {answer.status}: {json.dumps(body)[:500]}"
    except (ValueError, AttributeError):
        reason, message = "", f"HTTP {answer.status}: {data[:500].decode(errors='replace')}"
    return api_error(answer.status, reason, message, retry_after=seconds_of(answer.headers))
