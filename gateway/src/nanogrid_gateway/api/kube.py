"""The Kubernetes API for the requests' threads: objects as plain dicts, in one namespace.

The calls run in the shared event loop, on ``kubernetes.aio``, which brings credentials, TLS and the
connection pool. Every call has a timeout; reads are tried again once when the connection broke.
"""

import json
from collections.abc import AsyncGenerator, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from nanogrid import names
from nanogrid_gateway.api.loop import Loop
from nanogrid_gateway.router.cluster import ClusterApi, KubeError

Json = dict[str, Any]

USER_AGENT = "nanogrid-gateway"
CONNECTIONS = 64
MERGE_PATCH = "application/merge-patch+json"
GRACE_SECONDS = 2.0  # for the loop, beyond the request's own timeout
LOG_IDLE_SECONDS = 15.0
TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 a path
ACCESS_REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"


class Kube:
    """A client for jobs, functions, reviews and logs; ``seconds`` is the timeout per request."""

    def __init__(self, loop: Loop, namespace: str, seconds: float) -> None:
        self.namespace = namespace
        self._loop = loop
        self._seconds = seconds
        self._api: client.ApiClient = loop.call(_connect(), seconds)
        group = f"/apis/{names.GROUP}/{names.VERSION}/namespaces/{namespace}"
        self.jobs = f"{group}/{names.PLURAL}"
        self.functions = f"{group}/{names.FUNCTION_PLURAL}"

    @property
    def cluster(self) -> ClusterApi:
        """LIST and WATCH on the same connections."""
        return ClusterApi(self._api, self._seconds)

    def get(self, collection: str, name: str) -> Json | None:
        """An object, or None if there is none.

        Raises:
            KubeError: any other answer, or none.
        """
        try:
            return self._call("GET", f"{collection}/{quote(name, safe='')}")
        except KubeError as e:
            if e.code == 404:
                return None
            raise

    def list(self, collection: str, query: dict[str, str]) -> Json:
        """One page of a collection, as the API server gives it."""
        return self._call("GET", f"{collection}?{urlencode(query)}")

    def create(self, collection: str, body: Json) -> Json:
        """Create an object.

        Raises:
            KubeError: 409 if its name is taken, 422 if the API server finds it invalid.
        """
        return self._call("POST", collection, body)

    def patch(self, collection: str, name: str, body: Json) -> Json:
        """A merge patch; with metadata.resourceVersion in it, 409 if the object has changed."""
        return self._call("PATCH", f"{collection}/{quote(name, safe='')}", body)

    def delete(self, collection: str, name: str, uid: str) -> None:
        """Delete an object, if it is still the one of that uid; it may be gone already."""
        body = {"preconditions": {"uid": uid}}
        try:
            self._call("DELETE", f"{collection}/{quote(name, safe='')}", body)
        except KubeError as e:
            if e.code != 404:
                raise

    def check(self) -> None:
        """Whether the API server answers and knows our kinds.

        Raises:
            KubeError: not so.
        """
        for collection in (self.jobs, self.functions):
            self.list(collection, {"limit": "1"})

    def log(self, pod: str, container: str) -> Iterator[bytes | None]:
        """What a container prints, from its beginning, live; None now and then when it is silent.

        Raises:
            KubeError: there is no such log (yet).
        """
        query = urlencode({"container": container, "follow": "true"})
        path = f"/api/v1/namespaces/{self.namespace}/pods/{quote(pod, safe='')}/log?{query}"
        return self._loop.iterate(self._stream(path), LOG_IDLE_SECONDS)

    def close(self) -> None:
        """Close the connections."""
        self._loop.call(self._api.close(), self._seconds)

    def _call(self, method: str, path: str, body: Json | None = None) -> Json:
        limits = aiohttp.ClientTimeout(total=self._seconds)
        try:
            return self._loop.call(
                self._answer(method, path, body, limits), 2 * self._seconds + GRACE_SECONDS
            )
        except TimeoutError as e:
            raise KubeError(0, f"no answer within {2 * self._seconds:g} s") from e

    async def _answer(
        self, method: str, path: str, body: Json | None, limits: aiohttp.ClientTimeout
    ) -> Json:
        error = KubeError(0, "not tried")
        for _ in range(2 if method == "GET" else 1):
            try:
                response = await self._send(method, path, body, limits)
                found: Json = json.loads(await response.read())
                return found
            except KubeError as e:
                if e.code:
                    raise
                error = e
            except (aiohttp.ClientError, TimeoutError, ValueError) as e:
                error = KubeError(0, f"{type(e).__name__}: {e}")
        raise error

    async def _send(
        self, method: str, path: str, body: Json | None, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        headers = {"Accept": "application/json", "User-Agent": USER_AGENT}
        headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
        await self._api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        url = f"{self._api.configuration.host}{path}"
        try:
            answer = await self._api.call_api(
                method, url, headers, body=body, _request_timeout=limits
            )
            response: aiohttp.ClientResponse = answer.response
            if response.status >= 300:
                raise KubeError(response.status, _message(await response.read()))
        except ApiException as e:
            raise KubeError(e.status or 0, _message(str(e.body or e.reason).encode())) from e
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise KubeError(0, f"{type(e).__name__}: {e}") from e
        return response

    async def _stream(self, path: str) -> AsyncGenerator[bytes, None]:
        limits = aiohttp.ClientTimeout(sock_connect=self._seconds)
        response = await self._send("GET", path, None, limits)
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except (aiohttp.ClientError, TimeoutError) as e:
            raise KubeError(0, f"{type(e).__name__}: {e}") from e
        finally:
            response.close()


async def _connect() -> client.ApiClient:
    """With the pod's service account, or with a kubeconfig outside a cluster."""
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=settings)
    settings.retries = None  # False would be the int 0 to the library, which then never stops
    settings.connection_pool_maxsize = CONNECTIONS
    return client.ApiClient(settings)


def _message(body: bytes) -> str:
    """The API server's own words."""
    try:
        status = json.loads(body)
    except ValueError:
        return body[:500].decode(errors="replace")
    return str(status.get("message", status) if isinstance(status, dict) else status)[:1000]
