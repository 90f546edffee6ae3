"""Redis and webhooks with a certificate of the platform team's CA; a proxy for webhooks."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from redis.exceptions import ConnectionError as RedisConnectionError

from nanogrid_operator.delivery.redis import Publisher
from nanogrid_operator.delivery.webhook_client import WebhookClient
from nanogrid_operator.model.result_keys import ResultKeys
from support.builders import RESULT_KEY_MASTER, a_result, some_settings
from support.certificates import Certificates, certificates

pytestmark = pytest.mark.integration

COMMAND = re.compile(rb"(?:^|\r\n)\*\d+\r\n")


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return certificates(tmp_path_factory.mktemp("ca"))


@asynccontextmanager
async def redis_with(tls: Certificates) -> AsyncIterator[str]:
    """The URL of a server that answers each command of Redis with PONG."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(b"+PONG\r\n" * len(COMMAND.findall(data)))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls.server)
    async with server:
        yield f"rediss://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"


async def test_redis_is_believed_with_its_ca_only(tls: Certificates) -> None:
    async def check(ca: str) -> None:
        settings = some_settings(redis_url=url, redis_ca_bundle=ca)
        publisher = Publisher(settings, ResultKeys(RESULT_KEY_MASTER))
        try:
            await publisher.check()
        finally:
            await publisher.close()

    async with redis_with(tls) as url:
        await check(tls.ca.read_text())
        with pytest.raises(RedisConnectionError, match="CERTIFICATE_VERIFY_FAILED"):
            await check("")


async def test_a_webhook_is_believed_with_its_ca_only(tls: Certificates) -> None:
    async def post(ca: str) -> tuple[int | None, str]:
        client = WebhookClient(some_settings(webhook_ca_bundle=ca))
        try:
            answer = await client.post(url, a_result())
        finally:
            await client.close()
        return answer.status, answer.message

    app = web.Application()

    async def accept(_: web.Request) -> web.Response:
        return web.Response(status=204)

    app.router.add_post("/hook", accept)
    server = TestServer(app, host="127.0.0.1", scheme="https")
    await server.start_server(ssl=tls.server)
    try:
        url = f"https://127.0.0.1:{server.port}/hook"
        assert await post(tls.ca.read_text()) == (204, "")
        status, message = await post("")
    finally:
        await server.close()
    assert status is None
    assert "CERTIFICATE_VERIFY_FAILED" in message


async def test_webhooks_go_through_the_proxy() -> None:
    seen: list[str] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await reader.readline()).decode())
        writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        client = WebhookClient(some_settings(webhook_proxy=f"http://127.0.0.1:{port}"))
        try:
            answer = await client.post("http://hooks.invalid/results", a_result())
        finally:
            await client.close()

    assert answer.status == 204
    assert seen == ["POST http://hooks.invalid/results HTTP/1.1\r\n"]
