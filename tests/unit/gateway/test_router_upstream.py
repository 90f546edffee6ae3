"""A connection pool belongs to one pod, not to an address."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from nanogrid_gateway.router.sessions import Address
from nanogrid_gateway.router.upstream import Upstreams
from support.routing.objects import POD

OLD = replace(POD, ip="127.0.0.1")
NEW = replace(OLD, uid="p-2", address=Address("team-a", "s2-0"))


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    made = Upstreams(connect=1, idle=1)
    yield made
    await made.close()


async def test_pods_with_the_same_address_share_no_connection(upstreams: Upstreams) -> None:
    async with upstreams.lease(OLD) as old, upstreams.lease(NEW) as new:
        assert old is not new
        assert old.connector is not new.connector
    async with upstreams.lease(OLD) as again:
        assert again is old


async def test_pod_with_a_new_address_gets_new_connections(upstreams: Upstreams) -> None:
    moved = replace(OLD, ip="127.0.0.2")
    async with upstreams.lease(OLD) as old, upstreams.lease(moved) as new:
        assert old is not new


async def test_retired_pool_serves_only_its_current_users(upstreams: Upstreams) -> None:
    async with upstreams.lease(OLD) as old:
        upstreams.retire(OLD)
        assert not old.closed
        async with upstreams.lease(OLD) as fresh:
            assert fresh is not old
    assert old.closed
    assert not fresh.closed


async def test_pool_of_a_deleted_pod_is_closed_for_its_users(upstreams: Upstreams) -> None:
    async with upstreams.lease(OLD) as old:
        upstreams.drop(OLD)
        await upstreams.close()  # waits for pools that are closing
        assert old.closed
