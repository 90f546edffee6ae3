"""The gateway: run functions over HTTP without access to Kubernetes."""

import os
import random
import time
import uuid
from collections.abc import Iterator
from typing import Any, Final
from urllib.parse import quote, urlencode

from urllib3 import BaseHTTPResponse, encode_multipart_formdata
from urllib3.exceptions import HTTPError

from nanogrid.client.errors import ApiError, NotConfigured, Unreachable, WaitTimeout
from nanogrid.client.http import Http, json_of, seconds_of
from nanogrid.client.sse import events

Json = dict[str, Any]
ENV_URL: Final = "NANOGRID_URL"
ENV_TOKEN: Final = "NANOGRID_TOKEN"  # noqa: S105 a name
WAIT_SECONDS: Final = 30.0  # of one request; proxies often end those of a minute
GRACE_SECONDS: Final = 30.0
TRIES: Final = 4
POLL_SECONDS: Final = 1.0
SILENCE_SECONDS: Final = 60.0  # four heartbeats
UPLOAD_SECONDS: Final = 600.0
CHUNK_BYTES: Final = 1 << 16


class Gateway:
    """Runs, and the functions that are run. Safe for threads; close it when done."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    @classmethod
    def connect(cls, url: str | None = None, token: str | None = None) -> "Gateway":
        """With $NANOGRID_URL and $NANOGRID_TOKEN unless given.

        Raises:
            NotConfigured: there is no URL.
        """
        base = url or os.environ.get(ENV_URL)
        if not base:
            raise NotConfigured("no gateway is configured.", f"Set {ENV_URL}, or gateway_url=.")
        return cls(Http(base, token or os.environ.get(ENV_TOKEN, "")))

    def run(
        self,
        function_id: str,
        input_data: Any = None,
        request_id: str | None = None,
        version: int | None = None,
        timeout: float = 300.0,
    ) -> Json:
        """Run a function; the result's JSON.

        The requestId is fixed before the first try, so a repetition finds the same run.

        Raises:
            WaitTimeout: it has not ended within ``timeout`` seconds.
            ApiError: the gateway refuses it.
        """
        deadline = time.monotonic() + timeout
        body: Json = {
            "functionId": function_id,
            "inputData": input_data,
            "requestId": request_id or str(uuid.uuid4()),
        }
        body |= {} if version is None else {"version": version}
        path, method = "/run", "POST"
        failures = 0
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                said = f"run {body['requestId']} has not ended within {timeout} s."
                raise WaitTimeout(said, "Ask again with the same request_id.")
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
                if failures >= TRIES or not (e.status in (0, 429) or e.status >= 500):
                    raise
                _pause(max(e.retry_after, 0.3 * 2**failures), deadline)
                continue
            failures = 0
            found = json_of(answer)
            if answer.status != 202:
                return found
            path, method = str(found["links"]["self"]), "GET"
            _pause(seconds_of(answer.headers, POLL_SECONDS), deadline)

    def start(
        self,
        function_id: str,
        input_data: Any = None,
        request_id: str | None = None,
        version: int | None = None,
    ) -> str:
        """Run a function without waiting for its end; the requestId.

        Raises:
            ApiError: the gateway refuses it.
        """
        named = request_id or str(uuid.uuid4())
        body: Json = {"functionId": function_id, "inputData": input_data, "requestId": named}
        body |= {} if version is None else {"version": version}
        # The requestId makes it repeatable.
        self._repeated("POST", "/run", body=body | {"wait": 0})
        return named

    def wait(self, request_id: str, timeout: float = 300.0) -> Json:
        """The result of a run that was started.

        Raises:
            WaitTimeout: it has not ended within ``timeout`` seconds.
            NotFound: there is no such run.
        """
        deadline = time.monotonic() + timeout
        while True:
            answer = self._repeated("GET", f"/runs/{_part(request_id)}")
            if answer.status != 202:
                return json_of(answer)
            if time.monotonic() >= deadline:
                said = f"run {request_id} has not ended within {timeout} s."
                raise WaitTimeout(said, "Ask again with the same request_id.")
            _pause(seconds_of(answer.headers, POLL_SECONDS), deadline)

    def get(self, request_id: str) -> tuple[bool, Json]:
        """Whether a run has ended, and its result or its state.

        Raises:
            NotFound: there is no such run.
        """
        answer = self._http.send("GET", f"/runs/{_part(request_id)}")
        return answer.status != 202, json_of(answer)

    def logs(self, request_id: str) -> Iterator[str]:
        """What a run prints, live, until it has ended or the gateway ends the stream."""
        headers = {"Accept": "text/event-stream"}
        answer = self._http.send(
            "GET",
            f"/runs/{_part(request_id)}/logs",
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
            page = json_of(self._repeated("GET", f"/functions?{urlencode(query)}"))
            found += page["functions"]
            if not page.get("continue"):
                return found
            query = {"continue": str(page["continue"])}

    def function(self, function_id: str) -> Json:
        """One function.

        Raises:
            NotFound: there is none of that id.
        """
        return json_of(self._repeated("GET", f"/functions/{_part(function_id)}"))

    def versions(self, function_id: str) -> list[Json]:
        """All versions of a function, the newest first."""
        path = f"/functions/{_part(function_id)}/versions"
        found: list[Json] = json_of(self._repeated("GET", path))["versions"]
        return found

    def upload(self, archive: bytes, **form: Any) -> Json:
        """Store a ZIP; a lost answer is not repeated, because it may have made a version.

        Args:
            archive: the ZIP.
            **form: functionId, runtime, entryPoint, memory, timeout; None is left out.

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
        """Delete a function and its code: functionId, deletedObjects.

        Raises:
            Conflict: runs of it have not ended.
        """
        return self._http.json("DELETE", f"/functions/{_part(function_id)}")

    def _repeated(self, method: str, path: str, **options: Any) -> BaseHTTPResponse:
        for attempt in range(TRIES):
            try:
                return self._http.send(method, path, **options)
            except ApiError as e:
                passing = e.status in (0, 429) or e.status >= 500
                if attempt == TRIES - 1 or not passing:
                    raise
                _pause(max(e.retry_after, 0.3 * 2**attempt), float("inf"))
        raise AssertionError("the loop returns or raises")


def _part(text: str) -> str:
    return quote(text, safe="")


def _pause(seconds: float, deadline: float) -> None:
    jittered = seconds * random.uniform(0.8, 1.2)  # noqa: S311 no secret
    time.sleep(max(0.0, min(jittered, deadline - time.monotonic())))
