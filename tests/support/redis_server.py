"""A redis-server for tests, a result to deliver, and a faulty network in between."""

import asyncio
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from nanogrid import wire
from nanogrid.tenancy import Area
from nanogrid_operator.decision.outcome import Delivery
from nanogrid_operator.decision.result_owner import ResultOwner
from nanogrid_operator.delivery.attempts import Attempted, unmeasured
from nanogrid_operator.delivery.redis import Publisher
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.settings import Settings
from support.builders import RESULT_KEY_MASTER, a_job, a_result, signed
from support.s3_server import free_port

needs_redis = pytest.mark.skipif(
    shutil.which("redis-server") is None, reason="needs redis-server on PATH"
)

PASSWORD = "p@ss/wörd"
WAIT_SECONDS = 60
# team-a is the compatibility namespace of these tests.
AREA = Area.of("team-a", bucket="", compatibility_namespace="team-a")
KEYS = ResultKeys(RESULT_KEY_MASTER)
RESULT = signed(
    a_result(
        request_id="order-1",
        stdout="합계 157,685,452원\n",
        stdout_bytes=22,
        job=wire.JobRef(namespace="team-a", name="sales", uid="uid-1"),
    )
)


def owner_of(result: wire.Result, area: Area = AREA) -> ResultOwner:
    """The attempt of a result, whose pod is not known."""
    ref = result.job
    job = a_job(name=ref.name, namespace=ref.namespace, uid=ref.uid, requestId=result.request_id)
    return ResultOwner(area=area, job=job, attempt=result.attempt)


class OneJobPublisher(Publisher):
    """A publisher that signs each result and finds its owner in it."""

    async def publish(self, result: wire.Result, owner: ResultOwner | None = None) -> Delivery:
        return await super().publish(KEYS.sign(result), owner or owner_of(result))


class Server:
    """A redis-server that can be stopped and restarted on the same port."""

    def __init__(self, directory: Path) -> None:
        self.port = free_port()  # a cluster node also uses the port 10,000 above
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *options: str) -> None:
        """Start the server; returns when it listens, perhaps before its data is loaded."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--requirepass", PASSWORD, "--dir", str(self._directory), "--save", ""]
        command += options
        with open(self._directory / "log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + WAIT_SECONDS
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError((self._directory / "log").read_text())

    def stop(self) -> None:
        """Stop the server; connections are refused."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(WAIT_SECONDS)
            self._process = None

    def settings(self, **changes: Any) -> Settings:
        base = Settings(
            redis_url=f"redis://127.0.0.1:{self.port}/0",
            redis_password=PASSWORD,
            redis_timeout_seconds=30.0,
        )
        return replace(base, **changes)

    def client(self) -> redis.asyncio.Redis:
        return redis.asyncio.Redis(
            host="127.0.0.1", port=self.port, password=PASSWORD, decode_responses=True
        )


@contextmanager
def a_server(directory: Path) -> Iterator[Server]:
    """A running server with its data in this directory."""
    server = Server(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()


@asynccontextmanager
async def a_publisher(
    settings: Settings, *, silence_seconds: float = 0.0, attempted: Attempted = unmeasured
) -> AsyncIterator["OneJobPublisher"]:
    """A publisher that tries Redis again ``silence_seconds`` after a timeout."""
    publisher = OneJobPublisher(
        settings, KEYS, silence_seconds=silence_seconds, attempted=attempted
    )
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
        assert await subscription.get_message(timeout=WAIT_SECONDS)  # the confirmation
        yield subscription


class Network:
    """A TCP proxy that can change its target or drop the server's answers."""

    def __init__(self, target: int) -> None:
        self.target = target
        self.drop_answers = False
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
                if not (answers and self.drop_answers):
                    writer.write(data)
