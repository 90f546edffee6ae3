"""The Kubernetes API in six verbs on plain dicts; the only module that talks HTTP to it.

``kubernetes.aio`` brings credentials, TLS and the connection pool; bodies stay dicts, because its
model classes cost five times the request. Every call has a timeout. 429 and 503 are retried a few
times, as soon as the server asks for (Retry-After) if that is soon; everything else, and a longer
wait, is the caller's decision.
"""

import asyncio
import json
import random
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from nanogrid import names
from nanogrid_operator.servertime import ServerTime

Json = dict[str, Any]
Page = list[Json]
Trim = Callable[[Json], Json]
JOBS = f"/apis/{names.GROUP}/{names.VERSION}"
CORE = "/api/v1"
TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 a path
RETRY_CODES = frozenset({429, 503})
TRIES = 4
PAGE = 500
FRESH_LISTS = 3  # tries at a LIST whose pages expire while it is read
PATIENCE_SECONDS = 5.0  # a longer Retry-After goes to the caller, whose queue waits better


class KubeError(Exception):
    """An answer of the API server that is no success; ``code`` 0 means there was no answer."""

    def __init__(self, code: int, reason: str, message: str, retry_after: float = 0.0) -> None:
        super().__init__(f"{code} {reason}: {message}")
        self.retry_after = retry_after  # seconds that the server asks to be left alone
        self.code = code
        self.reason = reason
        self.message = message


def collection(base: str, plural: str, namespace: str = "") -> str:
    """Path of a collection, in one namespace or in all."""
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{base}{scope}/{plural}"


class KubeApi:
    """A thin client; close it when done."""

    def __init__(self, api: client.ApiClient, timeout_seconds: float) -> None:
        self._api = api
        self._timeout = timeout_seconds
        self.server_time = ServerTime()

    def now(self) -> float:
        """Seconds since the epoch by the API server's clock, as far as its answers tell."""
        return time.time() + self.server_time.offset

    @classmethod
    async def connect(cls, timeout_seconds: float) -> "KubeApi":
        """With the pod's service account, or with a kubeconfig outside a cluster."""
        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            await config.load_kube_config(client_configuration=settings)
        # Ours are below. Not False: that is the int 0 to the library, which then never stops.
        settings.retries = None
        settings.connection_pool_maxsize = 32
        return cls(client.ApiClient(settings), timeout_seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    async def probe(self, path: str) -> None:
        """Whether a collection can be listed; reads one object at most."""
        await self._call("GET", f"{path}?limit=1")

    async def list(
        self, path: str, *, labels: str = "", fields: str = "", trim: Trim | None = None
    ) -> tuple[Page, int]:
        """All objects of a collection, each trimmed as it comes, and the list's resourceVersion.

        The pages of one LIST expire with etcd's compaction (410): then it starts afresh.
        """
        for _ in range(FRESH_LISTS - 1):
            try:
                return await self._pages(path, labels, fields, trim)
            except KubeError as e:
                if e.code != 410:
                    raise
        return await self._pages(path, labels, fields, trim)

    async def _pages(
        self, path: str, labels: str, fields: str, trim: Trim | None
    ) -> tuple[Page, int]:
        items: Page = []
        query: Json = {"limit": PAGE}
        if fields:
            query["fieldSelector"] = fields
        if labels:
            query["labelSelector"] = labels
        while True:
            page = await self._call("GET", f"{path}?{urlencode(query)}")
            items += map(trim, page["items"]) if trim else page["items"]
            more = page["metadata"].get("continue")
            if not more:
                return items, int(page["metadata"]["resourceVersion"])
            query["continue"] = more

    async def get(self, path: str, name: str) -> Json:
        """One object."""
        return await self._call("GET", f"{path}/{name}")

    async def create(self, path: str, body: Json) -> Json:
        """Create an object; 409 when there is one of that name."""
        return await self._call("POST", path, body)

    async def patch_status(self, path: str, name: str, body: Json) -> Json:
        """Merge-patch the status; 409 when metadata.resourceVersion in the body is outdated."""
        return await self._call("PATCH", f"{path}/{name}/status", body)

    async def patch(self, path: str, name: str, body: Json) -> Json:
        """Merge-patch an object."""
        return await self._call("PATCH", f"{path}/{name}", body)

    async def delete(self, path: str, name: str, uid: str | None = None) -> Json | None:
        """Delete an object, with ``uid`` only if it still is that one; none there is success.

        Returns:
            The object as it is while it ends in its own time, or None when it is gone.
        """
        try:
            only = {"preconditions": {"uid": uid}} if uid is not None else None
            answer = await self._call("DELETE", f"{path}/{name}", only)
        except KubeError as e:
            if e.code not in (404, 409):
                raise
            return None
        return answer if "deletionTimestamp" in answer.get("metadata", {}) else None

    async def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        for attempt in range(TRIES):
            try:
                return await self._once(method, path, body)
            except KubeError as e:
                if e.code not in RETRY_CODES or attempt == TRIES - 1:
                    raise
                if e.retry_after > PATIENCE_SECONDS:
                    raise
                pause = max(e.retry_after, 0.5 * 2**attempt * 0.8)
                await asyncio.sleep(pause * random.uniform(1.0, 1.4))  # noqa: S311 jitter
        raise AssertionError("the loop returns or raises")

    async def _once(self, method: str, path: str, body: Json | None) -> Json:
        headers = {"Accept": "application/json", "User-Agent": names.MANAGED_BY}
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        headers["Content-Type"] = kind
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        url = self._api.configuration.host + path
        sent = time.time()
        try:
            answer = await self._api.call_api(
                method, url, headers, body, _request_timeout=self._timeout
            )
            received = time.time()
            text = await answer.read()
        except ApiException as e:
            after = _retry_after(e.headers or {})
            raise KubeError(e.status or 0, e.reason or "", str(e.body or ""), after) from e
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise KubeError(0, type(e).__name__, str(e)) from e
        if answer.status >= 300:
            raise _error(answer.status, text, _retry_after(answer.headers))
        date = answer.headers.get("Date", "")
        self.server_time.heard(date, sent, received, time.monotonic())
        result: Json = json.loads(text)
        return result


def _retry_after(headers: Mapping[str, str]) -> float:
    """The API server gives whole seconds; anything else counts as none."""
    text = headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _error(code: int, text: bytes, retry_after: float) -> KubeError:
    try:
        status = json.loads(text)
        return KubeError(code, status.get("reason", ""), status.get("message", ""), retry_after)
    except (ValueError, AttributeError):
        return KubeError(code, "", text[:500].decode(errors="replace"), retry_after)
