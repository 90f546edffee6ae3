"""The operator's ports accept IPv6 and IPv4."""

import asyncio
from typing import Any

import pytest

from nanogrid_operator.__main__ import _serving_denied
from nanogrid_operator.server.serve import serving
from support.s3_server import free_port

BOTH = ["127.0.0.1", "::1"]


class Api:
    """Has no routes."""

    def app(self) -> Any:
        from aiohttp import web

        return web.Application()


@pytest.mark.parametrize("address", BOTH)
async def test_the_results_port(address: str) -> None:
    async with serving(Api(), "", 0) as port:  # type: ignore[arg-type]
        reader, writer = await asyncio.open_connection(address, port)
        writer.write(b"GET /nothing HTTP/1.0\r\n\r\n")
        assert (await reader.read()).startswith(b"HTTP/1.0 404 ")
        writer.close()


@pytest.mark.parametrize("address", BOTH)
async def test_the_denied_port_closes_every_connection(address: str) -> None:
    port = free_port()
    async with _serving_denied(port):
        reader, writer = await asyncio.open_connection(address, port)
        assert await reader.read() == b""
        writer.close()
