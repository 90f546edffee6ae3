"""A redis-server of the tests' own, the result that they deliver, and a network in between."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from integration.support import free_port
from nanogrid import wire
from nanogrid_operator.publish import Publisher
from nanogrid_operator.settings import Settings

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="needs redis-server on PATH"
)

PASSWORD = "p@ss/wörd"
RESULT = wire.Result(
    request_id="order-1",
    function_id=None,
    status="SUCCESS",
    exit_code=0,
    stdout="합계 157,685,452원\n",
    stderr="",
    duration_millis=312,
    peak_memory_bytes=None,
    peak_memory_mb=None,
    optimization_tip="",
    output_files=[],
    reason="Completed",
    job=wire.JobRef(namespace="team-a", name="sales", uid="uid-1"),
)


class Server:
    """A redis-server of our own: it can be stopped and started again on the same port."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()  # and 10,000 above it, which a cluster needs
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Listens when it returns; it may still be loading its data."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--requirepass", PASSWORD, "--dir", str(self._directory), "--save", ""]
        command += options
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError((self._directory / "log").read_text())

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(20)
            self._process = None

    def settings(self, **changes: Any) -> Settings:
        base = Settings(
            redis_url=f"redis://127.0.0.1:{self.port}/0",
            redis_password=PASSWORD,
            redis_timeout_seconds=0.5,
        )
        return replace(base, **changes)

    def client(self) -> redis.asyncio.Redis:
        return redis.asyncio.Redis(
            host="127.0.0.1", port=self.port, password=PASSWORD, decode_responses=True
        )


@asynccontextmanager
async def a_publisher(settings: Settings) -> AsyncIterator[Publisher]:
    publisher = Publisher(settings)
    try:
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def subscribed(
    store: redis.asyncio.Redis, channel: str
) -> AsyncIterator[redis.asyncio.client.PubSub]:
    async with store.pubsub() as subscription:
        await subscription.subscribe(channel)
        assert await subscription.get_message(timeout=5)  # the confirmation
        yield subscription


class Network:
    """A TCP proxy: it can lead elsewhere, swallow what comes back, or let nothing through."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.deaf = False  # answers are lost
        self.connections = 0

    async def __aenter__(self) -> "Network":
        self._server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self._tasks: set[asyncio.Task[None]] = set()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _connect(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        self.connections += 1
        far, out = await asyncio.open_connection("127.0.0.1", self.target)
        for reader, writer, answers in ((near, out, False), (far, back, True)):
            task = asyncio.create_task(self._pass(reader, writer, answers))
            self._tasks.add(task)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: bool
    ) -> None:
        with closing(writer):
            while data := await reader.read(65536):
                if not (answers and self.deaf):
                    writer.write(data)
