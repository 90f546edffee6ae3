"""The gateway: run functions over HTTP without access to Kubernetes."""

import os
import random
import time
import uuid
from typing import Any, Final

from nanogrid.client.errors import ApiError, NotConfigured, WaitTimeout
from nanogrid.client.http import Http, json_of, seconds_of

Json = dict[str, Any]
ENV_URL: Final = "NANOGRID_URL"
ENV_TOKEN: Final = "NANOGRID_TOKEN"  # noqa: S105 a name
WAIT_SECONDS: Final = 30.0  # of one request; proxies often end those of a minute
GRACE_SECONDS: Final = 30.0
TRIES: Final = 4
POLL_SECONDS: Final = 1.0


class Gateway:
    """``POST /run`` and ``GET /runs/ID``."""

    def __init__(self, http: Http) -> None:
        self._http = http

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

    def get(self, request_id: str) -> tuple[bool, Json]:
        """Whether a run has ended, and its result or its state.

        Raises:
            NotFound: there is no such run.
        """
        answer = self._http.send("GET", f"/runs/{request_id}")
        return answer.status != 202, json_of(answer)


def _pause(seconds: float, deadline: float) -> None:
    jittered = seconds * random.uniform(0.8, 1.2)  # noqa: S311 no secret
    time.sleep(max(0.0, min(jittered, deadline - time.monotonic())))
