"""Delivery to the master that Sentinels name: once, also when the master fails."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import MasterNotFoundError
from redis.backoff import NoBackoff

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid.redis_clients import client, close
from nanogrid.redis_url import CLUSTER, SENTINEL, STANDALONE
from support.redis_delivery import refused
from support.redis_server import (
    PASSWORD,
    RESULT,
    WAIT_SECONDS,
    OneJobPublisher,
    a_publisher,
    needs_redis,
)
from support.redis_topologies import MASTER, SENTINEL_PASSWORD, Sentinels
from support.s3_server import free_port

pytestmark = [pytest.mark.integration, needs_redis]


async def delivered(publisher: OneJobPublisher, result: wire.Result) -> int:
    """Try until the result is delivered; the number of tries that were not."""
    pending = 0
    async with asyncio.timeout(WAIT_SECONDS):
        while (delivery := await publisher.publish(result)).state != "Delivered":
            assert delivery.reason in (Reason.REDIS_UNAVAILABLE, Reason.REDIS_READ_ONLY), delivery
            pending += 1
            await asyncio.sleep(0.05)
    return pending


async def test_an_unknown_master_is_explained(sentinels: Sentinels) -> None:
    async with a_publisher(sentinels.settings(redis_sentinel_master="other")) as publisher:
        await refused(
            publisher,
            Reason.REDIS_UNAVAILABLE,
            "unknown, of results",
            "check redis.sentinel.masterName",
        )
        with pytest.raises(MasterNotFoundError):
            await publisher.check()
    async with a_publisher(sentinels.settings()) as publisher:
        await publisher.check()


@pytest.mark.parametrize(
    ("of_sentinel", "mode", "advice"),
    [
        (True, STANDALONE, "if this is a Sentinel, set redis.mode to Sentinel"),
        (True, CLUSTER, "set redis.mode to Standalone (to Sentinel, if this is a Sentinel)"),
        (False, SENTINEL, "this is no Sentinel; redis.url must name the Sentinels"),
    ],
)
async def test_a_sentinel_and_another_server_are_told_apart(
    sentinels: Sentinels, of_sentinel: bool, mode: str, advice: str
) -> None:
    node = sentinels.sentinels[0] if of_sentinel else sentinels.servers[0]
    settings = sentinels.settings(
        redis_url=f"redis://127.0.0.1:{node.port}",
        redis_mode=mode,
        redis_password=SENTINEL_PASSWORD,
        redis_sentinel_password=PASSWORD,
    )
    async with a_publisher(settings) as publisher:
        await refused(publisher, Reason.REDIS_REFUSED, advice)


@pytest.mark.parametrize("password", ["", "wrong"])
async def test_sentinels_that_refuse_the_password_are_explained(
    sentinels: Sentinels, password: str
) -> None:
    settings = sentinels.settings(redis_sentinel_password=password)
    async with a_publisher(settings) as publisher:
        await refused(publisher, Reason.REDIS_ACCESS_DENIED, "AuthenticationError")


async def test_a_wrong_password_of_redis_itself_is_explained(sentinels: Sentinels) -> None:
    async with a_publisher(sentinels.settings(redis_password="wrong")) as publisher:
        await refused(publisher, Reason.REDIS_ACCESS_DENIED)


async def test_sentinels_that_do_not_run_are_explained(tmp_path: Path) -> None:
    async with a_publisher(Sentinels(tmp_path).settings()) as publisher:
        await refused(publisher, Reason.REDIS_UNAVAILABLE, f"no master {MASTER!r}", "onnect")


async def test_no_sentinel_is_forgotten_when_many_connections_look_for_the_master(
    sentinels: Sentinels,
) -> None:
    """The first Sentinel does not answer, so all connections ask the second one at a time."""
    ports = [free_port(), *(node.port for node in sentinels.sentinels)]
    url = f"redis://{','.join(f'127.0.0.1:{port}' for port in ports)}/0"
    server = sentinels.settings(redis_url=url).redis_server
    found: Any = client(server, retry=Retry(NoBackoff(), 0))
    try:
        await asyncio.gather(*(found.get("x") for _ in range(8)))
        asked = found.connection_pool.sentinel_manager.sentinels
        left = [one.connection_pool.connection_kwargs["port"] for one in asked]
    finally:
        await close(found)
    assert sorted(left) == sorted(ports)
    assert left[0] == ports[1], "one that answers is asked first"


async def test_a_killed_master_is_replaced_and_nothing_is_published_twice(
    sentinels: Sentinels,
) -> None:
    after = replace(RESULT, request_id="after")
    old = sentinels.master()
    async with a_publisher(sentinels.settings()) as publisher:
        assert (await publisher.publish(RESULT)).state == "Delivered"
        with old.client() as store:
            assert store.wait(1, WAIT_SECONDS * 1000) == 1, "the replica has the result"
        old.kill()
        pending = await delivered(publisher, after)
        again = await publisher.publish(RESULT)
    new = next(node for node in sentinels.servers if node is not old)
    with new.client() as store:
        entries = [fields["requestId"] for _, fields in store.xrange("results")]
    assert pending > 0, "the master was really away"
    assert sentinels.master() is new
    assert (again.state, again.message) == ("Delivered", "delivered by an earlier try")
    assert entries == ["order-1", "after"]
