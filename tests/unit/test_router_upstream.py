"""Pools of connections belong to one pod, not to an address."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from nanogrid_gateway.router.objects import Address, Pod
from nanogrid_gateway.router.upstream import Upstreams

OLD = Pod(
    address=Address("team-a", "s1-0"),
    uid="p-1",
    owners=frozenset({"u"}),
    ip="127.0.0.1",
    phase="Running",
    ready=True,
    message="",
    deleting=False,
)
NEW = replace(OLD, uid="p-2", address=Address("team-a", "s2-0"))


@pytest.fixture
async def upstreams() -> AsyncIterator[Upstreams]:
    made = Upstreams(connect=1, idle=1)
    yield made
    await made.close()


async def test_pods_of_one_address_share_no_connection(upstreams: Upstreams) -> None:
    async with upstreams.lease(OLD) as old, upstreams.lease(NEW) as new:
        assert old is not new
        assert old.connector is not new.connector
    async with upstreams.lease(OLD) as again:
        assert again is old


async def test_pod_that_got_another_address_gets_other_connections(upstreams: Upstreams) -> None:
    moved = replace(OLD, ip="127.0.0.2")
    async with upstreams.lease(OLD) as old, upstreams.lease(moved) as new:
        assert old is not new


async def test_retired_pool_serves_who_has_it_and_nobody_else(upstreams: Upstreams) -> None:
    async with upstreams.lease(OLD) as old:
        upstreams.retire(OLD)
        assert not old.closed
        async with upstreams.lease(OLD) as fresh:
            assert fresh is not old
    assert old.closed
    assert not fresh.closed


async def test_pool_of_a_pod_that_is_gone_is_closed_under_its_users(upstreams: Upstreams) -> None:
    async with upstreams.lease(OLD) as old:
        upstreams.drop(OLD)
        await upstreams.close()  # waits for what is being closed
        assert old.closed
