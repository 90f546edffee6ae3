"""A small API server with LIST and WATCH for session jobs and pods.

Like a real one it numbers every change, replays a watch from a version, sends ERROR 410 for a
compacted version, and rejects selectors for fields that the CRD does not declare selectable.
"""

import asyncio
import contextlib
import copy
import json
from pathlib import Path

import yaml
from aiohttp import web

from nanogrid import names
from nanogrid.types import Json
from support.s3_server import free_port
from support.selectors import selected_by

Key = tuple[str, str, str]  # plural, namespace, name


class FakeKube:
    """Holds the objects that a test puts; ``lists`` and ``watches`` count requests."""

    def __init__(self, *, field_selectors: bool = True) -> None:
        self._field_selectors = field_selectors
        self._objects: dict[Key, Json] = {}
        self._events: list[tuple[int, str, str, Json]] = []  # version, plural, type, object
        self._version = 100
        self._compacted = 0
        self._changed = asyncio.Condition()
        self._runner: web.ServerRunner | None = None
        self._port = free_port()
        self.lists = 0
        self.watches = 0

    async def stop(self) -> None:
        """Stop listening and abort all connections."""
        if self._runner is None:
            return
        runner, self._runner = self._runner, None
        assert runner.server is not None
        for connection in runner.server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()

    async def start(self) -> None:
        """Listen, after a stop on the same port."""
        server = web.Server(self._handle, access_log=None, handler_cancellation=True)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port).start()

    async def compact(self) -> None:
        """Make all earlier versions too old for a watch, and abort running watches."""
        self._version += 1
        self._compacted = self._version
        self._events.clear()
        await self.stop()
        await self.start()

    def kubeconfig(self, directory: Path) -> Path:
        """A kubeconfig for this server."""
        url = f"http://127.0.0.1:{self._port}"
        body = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "fake",
            "clusters": [{"name": "fake", "cluster": {"server": url}}],
            "users": [{"name": "fake", "user": {}}],
            "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
        }
        path = directory / "kubeconfig"
        path.write_text(yaml.safe_dump(body))
        return path

    async def put(self, plural: str, body: Json) -> None:
        """Create or replace an object."""
        meta = body["metadata"]
        key = (plural, meta["namespace"], meta["name"])
        await self._change("MODIFIED" if key in self._objects else "ADDED", key, body)

    async def delete(self, plural: str, namespace: str, name: str) -> None:
        """Delete an object."""
        key = (plural, namespace, name)
        await self._change("DELETED", key, self._objects[key])

    async def _change(self, kind: str, key: Key, body: Json) -> None:
        self._version += 1
        stored = copy.deepcopy(body)
        stored["metadata"]["resourceVersion"] = str(self._version)
        if kind == "DELETED":
            del self._objects[key]
        else:
            self._objects[key] = stored
        self._events.append((self._version, key[0], kind, stored))
        async with self._changed:
            self._changed.notify_all()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        parts = request.path.strip("/").split("/")
        plural = parts[-1]
        namespace = parts[-2] if "namespaces" in parts else ""
        fields = request.query.get("fieldSelector", "")
        if fields and not self._field_selectors:
            message = f"field label not supported: {fields}"
            return web.json_response({"code": 400, "message": message}, status=400)
        if request.query.get("watch") == "true":
            self.watches += 1
            return await self._watch(request, plural, namespace)
        self.lists += 1
        items = [
            body
            for (kind, of, _), body in self._objects.items()
            if kind == plural and namespace in ("", of) and selected_by(body, request.query)
        ]
        meta = {"resourceVersion": str(self._version)}
        return web.json_response({"metadata": meta, "items": items})

    async def _newer(self, version: int) -> None:
        async with self._changed:
            await self._changed.wait_for(
                lambda: bool(self._events) and self._events[-1][0] > version
            )

    async def _watch(
        self, request: web.BaseRequest, plural: str, namespace: str
    ) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        version = int(request.query["resourceVersion"])
        if version < self._compacted:
            expired = {"code": 410, "reason": "Expired", "message": "too old resource version"}
            await response.write(_line("ERROR", expired))
            return response
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(float(request.query["timeoutSeconds"])):
                while True:
                    for number, kind, event, body in [e for e in self._events if e[0] > version]:
                        version = number
                        inside = namespace in ("", body["metadata"]["namespace"])
                        if kind == plural and inside and selected_by(body, request.query):
                            await response.write(_line(event, body))
                    await self._newer(version)
        return response


def _line(kind: str, body: Json) -> bytes:
    return json.dumps({"type": kind, "object": body}).encode() + b"\n"


JOBS = names.PLURAL
PODS = "pods"
