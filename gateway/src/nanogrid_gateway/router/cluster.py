"""LIST and WATCH of the Kubernetes API on plain dicts; the only module that talks HTTP to it.

``kubernetes.aio`` brings credentials, TLS and the connection pool. Every call has a timeout, and
none is repeated here: :mod:`nanogrid_gateway.router.reflector` goes on after a failure.
"""

import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from nanogrid_gateway.router.objects import Json

USER_AGENT = "nanogrid-router"
GRACE_SECONDS = 10.0  # a watch that the server should have ended by then hangs


class KubeError(Exception):
    """An answer of the API server that is no success; ``code`` 0 means there was no answer."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code


class ClusterApi:
    """A thin client; close it when done. timeout in seconds per request but watches."""

    page = 500  # objects per request of a listing

    def __init__(self, api: client.ApiClient, timeout: float) -> None:
        self._api = api
        self._timeout = timeout

    @classmethod
    async def connect(cls, seconds: float) -> "ClusterApi":
        """With the pod's service account, or with a kubeconfig outside a cluster.

        Args:
            seconds: timeout per request but watches.
        """
        settings = client.Configuration()
        try:
            config.load_incluster_config(client_configuration=settings)
        except config.ConfigException:
            await config.load_kube_config(client_configuration=settings)
        # Not False: that is the int 0 to the library, which then never stops.
        settings.retries = None
        return cls(client.ApiClient(settings), seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._api.close()

    def kept(self, item: Json) -> Json:
        """What a listing keeps of each object: all of it."""
        return item

    async def list(self, path: str, query: dict[str, str]) -> tuple[list[Json], str]:
        """All objects of a collection, and the list's resourceVersion."""
        items: list[Json] = []
        asked: dict[str, Any] = {**query, "limit": self.page}
        limits = aiohttp.ClientTimeout(total=self._timeout)
        while True:
            response = await self._get(path, asked, limits)
            try:
                page = json.loads(await response.read())
            except (aiohttp.ClientError, TimeoutError, ValueError) as e:
                raise KubeError(0, f"{type(e).__name__}: {e}") from e
            items += map(self.kept, page["items"])
            version, more = page["metadata"]["resourceVersion"], page["metadata"].get("continue")
            if not more:
                return items, version
            asked["continue"] = more

    async def watch(
        self, path: str, query: dict[str, str], version: str, seconds: float
    ) -> AsyncIterator[Json]:
        """The events after a resourceVersion, for ``seconds`` at most.

        Raises:
            KubeError: also for an event of type ERROR, with its code (410: the version is too old).
        """
        asked = {
            **query,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": max(1, round(seconds)),
        }
        limits = aiohttp.ClientTimeout(total=seconds + GRACE_SECONDS, sock_connect=self._timeout)
        response = await self._get(path, asked, limits)
        try:
            async for line in _lines(response.content):
                event: Json = json.loads(line)
                if event["type"] == "ERROR":
                    raise KubeError(event["object"].get("code", 0), event["object"].get("message"))
                yield event
        except (aiohttp.ClientError, TimeoutError, ValueError) as e:
            raise KubeError(0, f"{type(e).__name__}: {e}") from e
        finally:
            response.close()

    async def _get(
        self, path: str, query: dict[str, Any], limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, "GET", None)
        url = f"{self._api.configuration.host}{path}?{urlencode(query)}"
        try:
            answer = await self._api.call_api("GET", url, headers, _request_timeout=limits)
            response: aiohttp.ClientResponse = answer.response
            if response.status >= 300:
                text = (await response.read())[:500].decode(errors="replace")
                raise KubeError(response.status, text)
        except ApiException as e:
            raise KubeError(e.status or 0, str(e.body or e.reason)) from e
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise KubeError(0, f"{type(e).__name__}: {e}") from e
        return response


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Whole lines of any length; the reader's own have an upper bound."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line.strip():
                yield line
