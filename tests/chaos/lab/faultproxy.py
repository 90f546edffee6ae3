"""An HTTP proxy that imitates a failing server, a failing network or a crash.

One proxy stands in front of one server (the API server, an S3 server). A *fault* has a predicate
over calls and an effect on the calls that it picks (:mod:`chaos.lab.faults`). The first live fault
that matches a call wins; all other calls pass. The proxy runs in its own thread, and its methods
may be called from any thread.

    with FaultProxy("https://127.0.0.1:6443", ssl_context=context) as proxy:
        fault = proxy.fault(lambda call: call.method == "POST", Answer(503), times=2)
        ...
        assert fault.hits == 2
"""

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable
from itertools import cycle
from typing import Any, Final

import aiohttp
from aiohttp import web
from yarl import URL

from chaos.lab.faults import (
    After,
    Answer,
    Before,
    Call,
    Corrupt,
    Cut,
    Delay,
    Effect,
    Fault,
    Hang,
    LoseAnswer,
    Refuse,
    Rewrite,
    Slow,
    Stall,
    Tap,
)

HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade"})
CHUNK_BYTES: Final = 64 * 1024


class FaultProxy:
    """See the module's docstring. ``upstreams`` are the URLs of the server's replicas, which
    take calls in turn; :attr:`url` is the proxy's."""

    def __init__(
        self, *upstreams: str, ssl_context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self._upstreams = cycle(upstream.rstrip("/") for upstream in upstreams)
        self._ssl = ssl_context
        self._host = host
        self._port = 0
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._down = False
        self._open: dict[int, tuple[web.Request, asyncio.Task[Any]]] = {}
        self._streams: dict[int, Call] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopped: asyncio.Event | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fault-proxy", daemon=True)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"http://{self._host}:{self._port}"

    @property
    def calls(self) -> list[Call]:
        """All calls so far, with and without a fault."""
        with self._lock:
            return list(self._calls)

    @property
    def streams(self) -> list[Call]:
        """The calls whose answers have begun and not ended."""
        return list(self._streams.values())

    def fault(
        self, picks: Callable[[Call], bool], effect: Effect, times: int | None = None
    ) -> Fault:
        """Apply ``effect`` to the calls that ``picks`` chooses, at most ``times`` times."""
        fault = Fault(picks, effect, times, self._lock)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults, and forward calls again."""
        with self._lock:
            self._faults.clear()
        self._down = False

    def down(self) -> None:
        """Imitate a stopped server: reset open connections (also watches) and all new ones."""
        self._down = True
        self.reset_connections()

    def up(self) -> None:
        """Imitate the return of the server."""
        self._down = False

    def reset_connections(self) -> None:
        """Reset every open request, as a restarting server does."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._abort_all)

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        if not self._ready.wait(60):
            raise RuntimeError("the fault proxy did not start within 60 s")
        return self

    def __exit__(self, *_: object) -> None:
        if self._loop is not None and self._stopped is not None:
            self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join(15)

    def _run(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        connector = aiohttp.TCPConnector(ssl=self._ssl or True, limit=0, keepalive_timeout=5)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False
        ) as self._session:
            app = web.Application(client_max_size=1 << 40)
            app.router.add_route("*", "/{tail:.*}", self._handle)
            runner = web.AppRunner(
                app, access_log=None, shutdown_timeout=0.5, auto_decompress=False
            )
            await runner.setup()
            site = web.TCPSite(runner, self._host, 0)
            await site.start()
            server = site._server
            assert isinstance(server, asyncio.Server)
            self._port = server.sockets[0].getsockname()[1]
            self._ready.set()
            await self._stopped.wait()
            self._abort_all()
            await runner.cleanup()

    def _abort_all(self) -> None:
        for request, task in list(self._open.values()):
            _abort(request)
            task.cancel()  # the connection to the server ends as well

    def _record(self, request: web.Request) -> tuple[Call, Effect | None]:
        with self._lock:
            number = len(self._calls) + 1
            remote, now = request.remote or "", time.monotonic()
            call = Call(number, request.method, request.path, dict(request.query), remote, now)
            self._calls.append(call)
            for fault in self._faults:
                spent = fault.times is not None and fault.hits >= fault.times
                if not fault.removed and not spent and fault.picks(call):
                    fault.calls.append(call)
                    return call, fault.effect
        return call, None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call, effect = self._record(request)
        if self._down:
            return _abort(request)
        task = asyncio.current_task()
        assert task is not None, "aiohttp runs each handler in a task"
        self._open[id(request)] = request, task
        try:
            return await self._apply(request, call, effect)
        except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
            # The server's connection failed: the client's connection fails as well.
            return _abort(request)
        finally:
            self._open.pop(id(request), None)
            self._streams.pop(id(request), None)

    async def _apply(
        self, request: web.Request, call: Call, effect: Effect | None
    ) -> web.StreamResponse:
        match effect:
            case Answer(status, body, headers):
                await request.read()
                return web.Response(status=status, body=body, headers=dict(headers))
            case Refuse():
                return _abort(request)
            case Before(do):
                await asyncio.to_thread(do)
                return _abort(request)
            case Hang():
                await asyncio.sleep(3600)
                return _abort(request)
            case Delay(seconds):
                await asyncio.sleep(seconds)
        return await self._forward(request, call, effect)

    async def _forward(
        self, request: web.Request, call: Call, effect: Effect | None
    ) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        body: Any = request.content.iter_chunked(CHUNK_BYTES) if request.can_read_body else None
        if isinstance(effect, Rewrite):
            body = effect.change(await request.read())
            headers.pop("Content-Length", None)
        elif body is not None and "Content-Length" not in headers:
            body = await request.read()
        url = next(self._upstreams) + request.raw_path
        async with self._session.request(
            request.method,
            URL(url, encoded=True),
            headers=headers,
            data=body,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        ) as answer:
            if isinstance(effect, LoseAnswer | After):
                await answer.read()
                if isinstance(effect, After):
                    await asyncio.to_thread(effect.do)
                return _abort(request)
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            self._streams[id(request)] = call
            async for chunk in _shaped(answer, effect):
                if await _send(chunk, response, effect):
                    return _abort(request)
            if isinstance(effect, Cut):
                if effect.reset:
                    return _abort(request)
                if request.transport is not None:
                    request.transport.close()
                return response
            await response.write_eof()
            return response


async def _send(piece: bytes, response: web.StreamResponse, effect: Effect | None) -> bool:
    """Send a piece of an answer; returns whether the client's connection must be reset then."""
    if not isinstance(effect, Tap):
        await response.write(piece)
        return False
    if await asyncio.to_thread(effect.before, piece):
        return True
    await response.write(piece)
    return await asyncio.to_thread(effect.after, piece)


async def _shaped(answer: aiohttp.ClientResponse, effect: Effect | None) -> AsyncIterator[bytes]:
    """The answer's body, changed by the effect."""
    sent = 0
    # Not iter_chunks: for a second answer without a body (HEAD) it never ends.
    async for data in answer.content.iter_any():
        piece = data
        if isinstance(effect, Corrupt) and sent == 0 and piece:
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        if isinstance(effect, Cut):
            piece = piece[: max(0, effect.after_bytes - sent)]
            if not piece:
                return
        if isinstance(effect, Stall):
            piece = piece[: max(0, effect.after_bytes - sent)]
            if not piece:
                await asyncio.sleep(3600)
                return
        if isinstance(effect, Slow):
            for start in range(0, len(piece), effect.bytes_per_second):
                yield piece[start : start + effect.bytes_per_second]
                await asyncio.sleep(1)
            continue
        sent += len(piece)
        yield piece


def _abort(request: web.Request) -> web.Response:
    """Reset the client's connection; the returned response is never sent."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)
