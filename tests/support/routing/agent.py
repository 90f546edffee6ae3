"""A session's agent as the router sees it: a real server on its own loopback address."""

import asyncio
import hashlib
import json
from collections import Counter

from aiohttp import web
from aiohttp.typedefs import Handler

from nanogrid import names

PATH_WITHOUT_TOKEN = "/health"


class FakeAgent:
    """Responses name the session; ``seen`` counts requests by method and path."""

    def __init__(self, ip: str, session_id: str, token: str) -> None:
        self.ip = ip
        self.session_id = session_id
        self.token = token
        self.health_status = 200
        self.health_body: dict[str, object] = {"status": "healthy", "session_id": session_id}
        self.health_text = ""  # instead of the body, if it is set
        self.seen: Counter[str] = Counter()
        self.open_streams = 0
        self.received_bytes = 0
        self.gate = asyncio.Event()  # for responses that wait
        self.resets = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen on the agent's port."""
        app = web.Application(client_max_size=1 << 30, middlewares=[self._guard])
        app.router.add_get("/health", self._health)
        app.router.add_get("/stream", self._stream)
        app.router.add_get("/incomplete", self._incomplete)
        app.router.add_route("*", "/reset-once", self._reset_once)
        app.router.add_get("/redirect", self._redirect)
        app.router.add_get("/large", self._large)
        app.router.add_put("/files/{name}", self._upload)
        app.router.add_get("/wait", self._wait)
        app.router.add_route("*", "/{path:.*}", self._echo)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.1, auto_decompress=False
        )
        await self._runner.setup()
        await web.TCPSite(self._runner, self.ip, names.SESSION_PORT).start()

    async def stop(self) -> None:
        """Stop listening and abort open connections."""
        if self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.seen[f"{request.method} {request.path}"] += 1
        authorization = request.headers.get("Authorization")
        if request.path != PATH_WITHOUT_TOKEN and authorization != f"Bearer {self.token}":
            return web.json_response({"error": {"reason": "Unauthorized"}}, status=401)
        response: web.StreamResponse = await handler(request)
        return response

    async def _health(self, _: web.Request) -> web.Response:
        text = self.health_text or json.dumps(self.health_body)
        return web.json_response(text=text, status=self.health_status)

    async def _echo(self, request: web.Request) -> web.Response:
        return web.json_response(
            {
                "session_id": self.session_id,
                "method": request.method,
                "path": request.raw_path,
                "headers": dict(request.headers),
                "body": (await request.read()).decode(errors="replace"),
            }
        )

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        """``count`` events; each after the first waits for the gate or for ``gap`` seconds."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self.open_streams += 1
        try:
            for number in range(int(request.query["count"])):
                if number and "gap" in request.query:
                    await asyncio.sleep(float(request.query["gap"]))
                elif number:
                    await self.gate.wait()
                await response.write(f"data: {self.session_id} {number}\n\n".encode())
        finally:
            self.open_streams -= 1
        return response

    async def _wait(self, _: web.Request) -> web.Response:
        await self.gate.wait()
        return web.json_response({"session_id": self.session_id})

    async def _incomplete(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "1000"})
        await response.prepare(request)
        await response.write(b"x" * 10)
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _reset_once(self, request: web.Request) -> web.Response:
        self.resets += 1
        if self.resets == 1:
            assert request.transport is not None
            request.transport.abort()
        return web.json_response({"session_id": self.session_id})

    async def _redirect(self, request: web.Request) -> web.Response:
        own = f"http://{self.ip}:{names.SESSION_PORT}" if "own" in request.query else ""
        return web.Response(status=302, headers={"Location": f"{own}/files/a?b=c"})

    async def _large(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(int(request.query["mebibytes"])):
            await response.write(bytes(1 << 20))
        return response

    async def _upload(self, request: web.Request) -> web.Response:
        digest, size = hashlib.sha256(), 0
        async for chunk in request.content.iter_any():
            digest.update(chunk)
            size += len(chunk)
            self.received_bytes += len(chunk)
        return web.json_response({"bytes": size, "sha256": digest.hexdigest()})
