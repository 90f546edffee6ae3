"""An HTTP proxy that does what a server, a network or a crash does at the worst moment.

One proxy stands in front of one server (the API server, an S3 server). A *fault* is a predicate
over calls and what happens to those that it picks; the first live fault that fits wins, all other
calls pass. The proxy runs in a thread of its own; its methods may be called from any thread.

    with FaultProxy("https://127.0.0.1:6443", ssl_context=context) as proxy:
        fault = proxy.fault(lambda call: call.method == "POST", Answer(503), times=2)
        ...
        assert fault.hits == 2
"""

import asyncio
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final

import aiohttp
from aiohttp import web
from yarl import URL

HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "te", "upgrade"})
CHUNK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Call:
    """One request, as a predicate sees it. ``number`` counts all calls of the proxy from 1."""

    number: int
    method: str
    path: str
    query: Mapping[str, str]
    remote: str  # the client's address
    at: float  # time.monotonic()

    @property
    def watch(self) -> bool:
        """Whether it is a Kubernetes watch, which lasts."""
        return self.query.get("watch") in ("1", "true")

    def __str__(self) -> str:
        return f"{self.number} {self.method} {self.path}{' (watch)' if self.watch else ''}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The server is not asked; this is what the client gets."""

    status: int
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refuse:
    """The connection is reset before the server hears of the request."""


@dataclass(frozen=True, slots=True)
class LoseAnswer:
    """The server does what was asked; its answer never arrives."""


@dataclass(frozen=True, slots=True)
class Delay:
    """The request waits so many seconds before it goes on."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Nothing comes back, until the client gives up."""


@dataclass(frozen=True, slots=True)
class Slow:
    """The answer's body comes at so many bytes per second."""

    bytes_per_second: int


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer's body ends after so many bytes: in an orderly way, or with a reset."""

    after_bytes: int
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Stall:
    """The answer's body goes silent after so many bytes; the connection stays."""

    after_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The request's body is another one when the server gets it."""

    change: Callable[[bytes], bytes]


@dataclass(frozen=True, slots=True)
class Corrupt:
    """One bit of the answer's first byte is another one."""


@dataclass(frozen=True, slots=True)
class Before:
    """A function runs (and may kill somebody); then the connection is reset, unheard."""

    do: Callable[[], object]


@dataclass(frozen=True, slots=True)
class After:
    """The server does what was asked; then a function runs, and the answer never arrives."""

    do: Callable[[], object]


Effect = (
    Answer | Refuse | LoseAnswer | Delay | Hang | Slow | Cut | Stall | Rewrite | Corrupt
    | Before | After
)  # fmt: skip


@dataclass(slots=True)
class Fault:
    """A live fault; ``hits`` are the calls that it met."""

    picks: Callable[[Call], bool]
    effect: Effect
    times: int | None
    calls: list[Call] = field(default_factory=list)
    removed: bool = False

    @property
    def hits(self) -> int:
        """How many calls it met."""
        return len(self.calls)

    def remove(self) -> None:
        """All is well again."""
        self.removed = True


class FaultProxy:
    """See the module's docstring. ``url`` is the server's; :attr:`url` is the proxy's own."""

    def __init__(
        self, upstream: str, *, ssl_context: ssl.SSLContext | None = None, host: str = "127.0.0.1"
    ) -> None:
        self._upstream = upstream.rstrip("/")
        self._ssl = ssl_context
        self._host = host
        self._port = 0
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._down = False
        self._open: dict[int, web.Request] = {}
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
        """All calls so far, those that met a fault included."""
        with self._lock:
            return list(self._calls)

    def fault(
        self, picks: Callable[[Call], bool], effect: Effect, times: int | None = None
    ) -> Fault:
        """From now on the calls that ``picks`` chooses meet ``effect``, at most ``times`` times."""
        fault = Fault(picks, effect, times)
        with self._lock:
            self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Remove all faults and be up."""
        with self._lock:
            self._faults.clear()
        self._down = False

    def down(self) -> None:
        """The server is gone: open connections are reset, new ones too, watches included."""
        self._down = True
        self.reset_connections()

    def up(self) -> None:
        """The server is back."""
        self._down = False

    def reset_connections(self) -> None:
        """Reset every open request, as a server that restarts does."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._abort_all)

    def __enter__(self) -> "FaultProxy":
        self._thread.start()
        if not self._ready.wait(10):
            raise RuntimeError("the fault proxy did not start within 10 s")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
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
        for request in list(self._open.values()):
            _abort(request)

    def _note(self, request: web.Request) -> tuple[Call, Effect | None]:
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
        _, effect = self._note(request)
        if self._down:
            return _abort(request)
        self._open[id(request)] = request
        try:
            return await self._meet(request, effect)
        except (aiohttp.ClientError, ConnectionError, asyncio.IncompleteReadError):
            # What befell the server's connection befalls the client's.
            return _abort(request)
        finally:
            self._open.pop(id(request), None)

    async def _meet(self, request: web.Request, effect: Effect | None) -> web.StreamResponse:
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
        return await self._forward(request, effect)

    async def _forward(self, request: web.Request, effect: Effect | None) -> web.StreamResponse:
        headers = {k: v for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP}
        body: Any = request.content.iter_chunked(CHUNK_BYTES) if request.can_read_body else None
        if isinstance(effect, Rewrite):
            body = effect.change(await request.read())
            headers.pop("Content-Length", None)
        elif body is not None and "Content-Length" not in headers:
            body = await request.read()
        url = self._upstream + request.raw_path
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
            async for chunk in _shaped(answer, effect):
                await response.write(chunk)
            if isinstance(effect, Cut):
                if effect.reset:
                    return _abort(request)
                if request.transport is not None:
                    request.transport.close()
                return response
            await response.write_eof()
            return response


async def _shaped(answer: aiohttp.ClientResponse, effect: Effect | None) -> AsyncIterator[bytes]:
    """The answer's body, as the effect lets it through."""
    sent = 0
    # Not iter_chunks: of a second answer without a body (HEAD) it never comes to an end.
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
    """Reset the client's connection; the response that is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)
