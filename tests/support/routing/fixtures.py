"""Fixtures of the router's integration tests: one world and one router per test module."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from support.routing.world import Router, World, running_world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def routing(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with running_world(tmp_path_factory.mktemp("router")) as world:
        yield world


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router(routing: World) -> Router:
    """A router with default settings, shared by the tests of a module."""
    return await routing.router()
