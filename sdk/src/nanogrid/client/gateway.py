"""The gateway: run functions over HTTP without access to Kubernetes."""

import os
import uuid
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

from urllib3 import BaseHTTPResponse, encode_multipart_formdata
from urllib3.exceptions import HTTPError

from nanogrid.backoff import exponential, jitter
from nanogrid.client.configured import header_text, server_url
from nanogrid.client.errors import ApiError, NotConfigured, Unreachable, WaitTimeout
from nanogrid.client.http import Http, json_of, seconds_of
from nanogrid.client.sessions.sse import events
from nanogrid.client.timing import DEFAULT_TIMING, Timing
from nanogrid.types import Json

ENV_URL: Final = "NANOGRID_URL"
ENV_TOKEN: Final = "NANOGRID_TOKEN"  # noqa: S105 a name
WAIT_SECONDS: Final = 30.0  # per request; many proxies end requests after one minute
GRACE_SECONDS: Final = 30.0
TRIES: Final = 4
PAUSE_SECONDS: Final = 0.3
POLL_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 60.0  # four heartbeats
UPLOAD_SECONDS: Final = 600.0
CHUNK_BYTES: Final = 1 << 16


class Gateway:
    """Runs and functions of one gateway. Safe for threads; close it after use.

    All methods raise ApiError when the gateway refuses a request.
    """

    def __init__(self, http: Http, timing: Timing = DEFAULT_TIMING) -> None:
        self._http = http
        self._timing = timing

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @classmethod
    def connect(
        cls, url: str | None = None, token: str | None = None, timing: Timing = DEFAULT_TIMING
    ) -> "Gateway":
        """Use ``url`` and ``token``; the defaults are $NANOGRID_URL and $NANOGRID_TOKEN.

        Raises:
            NotConfigured: there is no URL, or the URL or the token is not valid.
        """
        base = url or os.environ.get(ENV_URL)
        if not base:
            raise NotConfigured("no gateway is configured.", f"Set {ENV_URL}, or gateway_url=.")
        address = server_url(base, "the URL of the gateway" if url else f"${ENV_URL}")
        given = token or os.environ.get(ENV_TOKEN)
        origin = "the token of the gateway" if token else f"${ENV_TOKEN}"
        return cls(Http(address, header_text(given, origin)), timing)

    def run(
        self,
        function_id: str,
        input_data: Any = None,
        request_id: str | None = None,
        version: int | None = None,
        timeout: float = 300.0,
        pool: str | None = None,
    ) -> Json:
        """Run a function and return the JSON of its result.

        The requestId is fixed before the first try, so a retry finds the same run.

        Raises:
            WaitTimeout: the run has not ended within ``timeout`` seconds.
        """
        deadline = self._timing.now() + timeout
        body = _request(function_id, input_data, request_id, version, pool)
        path, method = "/run", "POST"
        failures = 0
        while True:
            left = deadline - self._timing.now()
            if left <= 0:
                raise _not_ended(body["requestId"], timeout)
            wait = min(WAIT_SECONDS, left)
            try:
                answer = self._http.send(
                    method,
                    path,
                    body=body | {"wait": wait} if method == "POST" else None,
                    read_seconds=wait + GRACE_SECONDS,
                )
            except ApiError as e:
                failures += 1
                if failures >= TRIES or not e.transient:
                    raise
                self._pause(max(e.retry_after, exponential(failures, PAUSE_SECONDS)), deadline)
                continue
            failures = 0
            found = json_of(answer)
            if answer.status != 202:
                return found
            path, method = str(found["links"]["self"]), "GET"
            self._pause(seconds_of(answer.headers, POLL_SECONDS), deadline)

    def start(
        self,
        function_id: str,
        input_data: Any = None,
        request_id: str | None = None,
        version: int | None = None,
        pool: str | None = None,
    ) -> str:
        """Start a function and return the requestId at once."""
        body = _request(function_id, input_data, request_id, version, pool)
        # The requestId makes a retry safe.
        self._retry("POST", "/run", body=body | {"wait": 0})
        return str(body["requestId"])

    def wait(self, request_id: str, timeout: float = 300.0) -> Json:
        """The result of a started run.

        Raises:
            WaitTimeout: the run has not ended within ``timeout`` seconds.
            NotFound: the run does not exist.
        """
        deadline = self._timing.now() + timeout
        while True:
            answer = self._retry("GET", f"/runs/{_segment(request_id)}")
            if answer.status != 202:
                return json_of(answer)
            if self._timing.now() >= deadline:
                raise _not_ended(request_id, timeout)
            self._pause(seconds_of(answer.headers, POLL_SECONDS), deadline)

    def get(self, request_id: str) -> tuple[bool, Json]:
        """Whether a run has ended, and its result or its state.

        Raises:
            NotFound: the run does not exist.
        """
        answer = self._http.send("GET", f"/runs/{_segment(request_id)}")
        return answer.status != 202, json_of(answer)

    def logs(self, request_id: str) -> Iterator[str]:
        """Live output of a run, until the run or the stream ends."""
        headers = {"Accept": "text/event-stream"}
        answer = self._http.send(
            "GET",
            f"/runs/{_segment(request_id)}/logs",
            headers=headers,
            read_seconds=SILENCE_SECONDS,
            preload=False,
        )
        try:
            for name, data in events(answer.stream(CHUNK_BYTES, decode_content=True)):
                if name == "log":
                    yield str(data["text"])
                elif name in ("end", "gone", "error"):
                    return
        except (HTTPError, OSError) as e:
            raise Unreachable(0, type(e).__name__, f"the stream broke: {e}.") from e
        finally:
            answer.close()

    def functions(self) -> list[Json]:
        """All functions."""
        found: list[Json] = []
        query: dict[str, str] = {}
        while True:
            page = json_of(self._retry("GET", f"/functions?{urlencode(query)}"))
            found += page["functions"]
            if not page.get("continue"):
                return found
            query = {"continue": str(page["continue"])}

    def function(self, function_id: str) -> Json:
        """One function.

        Raises:
            NotFound: the function does not exist.
        """
        return json_of(self._retry("GET", f"/functions/{_segment(function_id)}"))

    def versions(self, function_id: str) -> list[Json]:
        """All versions of a function, the newest first."""
        path = f"/functions/{_segment(function_id)}/versions"
        found: list[Json] = json_of(self._retry("GET", path))["versions"]
        return found

    def upload(self, archive: bytes, **form: Any) -> Json:
        """Store a ZIP. There is no retry after a lost answer: it could create a second version.

        Args:
            archive: the ZIP.
            **form: name, functionId, runtime, entryPoint, memory, timeout, pool; None is left out.

        Returns:
            functionId, version, s3Key, runtime, sha256, files.
        """
        fields: Json = {key: str(value) for key, value in form.items() if value is not None}
        fields["file"] = ("code.zip", archive, "application/zip")
        body, kind = encode_multipart_formdata(fields)
        headers = {"Content-Type": kind}
        return self._http.json(
            "POST", "/upload", content=body, headers=headers, read_seconds=UPLOAD_SECONDS
        )

    def delete(self, function_id: str) -> Json:
        """Delete a function and its code; returns functionId and deletedObjects.

        Raises:
            Conflict: runs of the function have not ended.
        """
        return self._http.json("DELETE", f"/functions/{_segment(function_id)}")

    def _retry(self, method: str, path: str, **options: Any) -> BaseHTTPResponse:
        for attempt in range(TRIES):
            try:
                return self._http.send(method, path, **options)
            except ApiError as e:
                if attempt == TRIES - 1 or not e.transient:
                    raise
                self._pause(max(e.retry_after, exponential(attempt, PAUSE_SECONDS)), float("inf"))
        raise AssertionError("the loop returns or raises")

    def _pause(self, seconds: float, deadline: float) -> None:
        left = deadline - self._timing.now()
        self._timing.sleep(max(0.0, min(jitter(seconds, 0.8, 1.2), left)))


def _request(
    function_id: str,
    input_data: Any,
    request_id: str | None,
    version: int | None,
    pool: str | None,
) -> Json:
    body = {
        "functionId": function_id,
        "inputData": input_data,
        "requestId": request_id or str(uuid.uuid4()),
    }
    chosen = {"version": version, "pool": pool}
    return body | {key: value for key, value in chosen.items() if value is not None}


def _not_ended(request_id: str, timeout: float) -> WaitTimeout:
    message = f"run {request_id} has not ended within {timeout} s."
    return WaitTimeout(message, "Call it again with the same request_id.")


def _segment(text: str) -> str:
    return quote(text, safe="")
