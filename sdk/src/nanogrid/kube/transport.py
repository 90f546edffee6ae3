"""One HTTP request to the API server: credentials, timeout, errors, retries.

``kubernetes.aio`` brings credentials, TLS and the connection pool; bodies stay dicts, because its
model classes cost five times the request. There is one retry rule:

- 429 and 503 are retried, four tries in all, after Retry-After if that is soon.
- A read whose connection breaks is repeated once, immediately; not one that timed out. Before the
  answer begins aiohttp does so, for deletes as well (RFC 9110, section 9.2.2); within it we do.
- A stream (watch, log) is not repeated: its reader opens the next one.

Everything else, and a longer wait, is the caller's decision.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final
from urllib.request import getproxies

import aiohttp
from kubernetes.aio import client, config
from kubernetes.aio.client.exceptions import ApiException

from nanogrid.kube.conventions import MERGE_PATCH, KubeError, Retry, refusal
from nanogrid.types import Json

# Receives a Date header, when the request was sent and when its answer came (seconds since the
# epoch), and the time of the monotonic clock.
Observer = Callable[[str, float, float, float], None]
# Receives the method (STREAM for a stream), the code of the answer (0: none), and the seconds that
# one try took: to the end of the answer, or to the beginning of a stream.
Answered = Callable[[str, int, float], None]

STREAM: Final = "STREAM"
CONNECTIONS: Final = 100  # open at the same time
BUSY: Final = Retry(codes=frozenset({429, 503}), first=0.4, patience=5.0, most=1.4)


class _Broken(KubeError):
    """A success of which the body did not come whole."""


@dataclass(slots=True)
class _Code:
    """Of the answer to one try; 0: none."""

    value: int = 0


async def api_client(connections: int = CONNECTIONS) -> client.ApiClient:
    """Connections with the pod's service account, or with a kubeconfig outside a cluster."""
    settings = client.Configuration()
    try:
        config.load_incluster_config(client_configuration=settings)
    except config.ConfigException:
        await config.load_kube_config(client_configuration=settings)
    # Our own rule applies. Not False: that is the int 0 to the library, which then never stops.
    settings.retries = None
    settings.connection_pool_maxsize = connections
    if not getproxies():
        # Otherwise aiohttp looks for a proxy and reads ~/.netrc in a thread, for each request.
        settings.client_session_kwargs = {"trust_env": False}
    return client.ApiClient(settings)


@dataclass(slots=True, kw_only=True)
class Transport:
    """Requests to one API server; close it when done.

    Attributes:
        api: connections and credentials; see :func:`api_client`.
        timeout_seconds: per request; a stream has its own limits.
        user_agent: names the part of NanoGrid, for the API server's audit log.
        observe: receives the Date header of each success.
        answered: receives how each try ended.
        retry: when to ask a busy server again.
        sleep: waits for so many seconds.
    """

    api: client.ApiClient
    timeout_seconds: float
    user_agent: str
    observe: Observer | None = None
    answered: Answered | None = None
    retry: Retry = BUSY
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def close(self) -> None:
        """Close the connections."""
        await self.api.close()

    async def call(self, method: str, path: str, body: Json | None = None) -> Json:
        """The JSON of an answer.

        Raises:
            KubeError: any answer that is not a success, or none.
        """
        may_repeat, attempt = method == "GET", 0
        while True:
            try:
                with self._try(method) as code:
                    return await self._once(method, path, body, code)
            except KubeError as e:
                if may_repeat and isinstance(e, _Broken):
                    may_repeat = False
                    continue
                pause = self.retry.pause(e.code, e.retry_after, attempt)
                if pause is None:
                    raise
            attempt += 1
            await self.sleep(pause)

    @contextmanager
    def _try(self, verb: str) -> Iterator[_Code]:
        """Give ``answered`` the end of the try inside."""
        code, started = _Code(), time.monotonic()
        try:
            yield code
        except KubeError as e:
            code.value = e.code
            raise
        finally:
            if self.answered is not None:
                self.answered(verb, code.value, time.monotonic() - started)

    async def _once(self, method: str, path: str, body: Json | None, code: _Code) -> Json:
        sent = time.time()
        limits = aiohttp.ClientTimeout(total=self.timeout_seconds)
        response = await self._open(method, path, body, limits)
        received = time.time()
        try:
            found: Json = json.loads(await response.read())
        except ValueError as e:
            raise _Broken(0, "NotJson", f"the answer is not JSON: {e}") from e
        except TimeoutError as e:
            # A server that was silent for the whole timeout is likely to be silent again.
            raise _no_answer(e) from e
        except (aiohttp.ClientError, OSError) as e:
            raise _Broken(0, type(e).__name__, str(e)) from e
        code.value = response.status
        if self.observe is not None:
            date = response.headers.get("Date", "")
            self.observe(date, sent, received, time.monotonic())
        return found

    async def _open(
        self, method: str, path: str, body: Json | None, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        """A success, whose body is still to be read."""
        kind = MERGE_PATCH if method == "PATCH" else "application/json"
        headers = {
            "Accept": "application/json",
            "User-Agent": self.user_agent,
            "Content-Type": kind,
        }
        await self.api.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        url = self.api.configuration.host + path
        try:
            answer = await self.api.call_api(method, url, headers, body, _request_timeout=limits)
            response: aiohttp.ClientResponse = answer.response
            if response.status >= 300:
                raise refusal(response.status, await response.read(), response.headers)
        except ApiException as e:
            text = str(e.body or e.reason or "")
            raise refusal(e.status or 0, text.encode(), e.headers or {}) from e
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise _no_answer(e) from e
        return response

    @asynccontextmanager
    async def stream(
        self, path: str, limits: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.StreamReader]:
        """The body of a GET, to be read as it comes; errors while reading are a KubeError."""
        with self._try(STREAM) as code:
            response = await self._open("GET", path, None, limits)
            code.value = response.status
        try:
            yield response.content
        except (aiohttp.ClientError, TimeoutError, OSError) as e:
            raise _no_answer(e) from e
        finally:
            # Closed, not given back: what has not been read would be the next answer.
            response.close()


def _no_answer(error: Exception) -> KubeError:
    return KubeError(0, type(error).__name__, str(error))
