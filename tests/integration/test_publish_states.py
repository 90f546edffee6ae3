"""A real Redis in its failure states: the reason of each, and one delivery afterwards.

Each test ends in the same way: the fault is removed, and the next try delivers.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import redis.asyncio

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid.redis_url import STANDALONE
from nanogrid_operator.delivery import redis_errors
from nanogrid_operator.settings import Settings
from support.redis_delivery import delivered_once, refused
from support.redis_server import (
    RESULT,
    WAIT_SECONDS,
    Network,
    OneJobPublisher,
    Server,
    a_publisher,
    a_server,
    needs_redis,
    owner_of,
)

pytestmark = [pytest.mark.integration, needs_redis]

MIB = 1 << 20
HINT = "set redis.mode to Cluster"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with a_server(tmp_path) as server:
        yield server


@pytest.fixture
async def store(server: Server) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of the server, with all permissions."""
    store = server.client()
    yield store
    await store.aclose()


async def test_down(tmp_path: Path) -> None:
    server = Server(tmp_path)
    tries: list[tuple[str, bool]] = []
    attempted = partial(record, tries)
    async with a_publisher(server.settings(), attempted=attempted) as publisher:
        await refused(publisher, Reason.REDIS_UNAVAILABLE, "onnect", "Check that Redis runs")
        server.start()
        try:
            await delivered_once(publisher, server)
        finally:
            server.stop()
    assert tries[:2] == [("redis", False), ("redis", True)]


def record(tries: list[tuple[str, bool]], target: str, success: bool, took: float) -> None:
    """Note a try to deliver a result."""
    assert took >= 0
    tries.append((target, success))


async def test_slower_than_the_timeout(server: Server, store: redis.asyncio.Redis) -> None:
    settings = server.settings(redis_timeout_seconds=0.2)
    async with a_publisher(settings) as publisher:
        await store.client_pause(600_000, all=False)  # writes wait, so an unpause does not
        delivery = await refused(publisher, Reason.REDIS_UNAVAILABLE, "Timeout")
        await store.client_unpause()
    async with a_publisher(server.settings()) as publisher:
        # The paused server may have executed the request later; both cases count as delivered.
        again = await publisher.publish(RESULT)
    assert delivery.state == "Pending"
    assert again.state == "Delivered"
    assert await store.xlen("results") == 1


async def test_only_one_job_waits_for_a_redis_that_hangs(server: Server) -> None:
    async with Network(server.port) as network:
        network.drop_answers = True
        settings = server.settings(
            redis_url=f"redis://127.0.0.1:{network.port}/0", redis_timeout_seconds=0.2
        )
        tries: list[tuple[str, bool]] = []
        attempted = partial(record, tries)
        async with a_publisher(settings, silence_seconds=600.0, attempted=attempted) as publisher:
            deliveries = [await publisher.publish(RESULT) for _ in range(50)]
    assert {d.state for d in deliveries} == {"Pending"}
    # A timeout ends a connection, so each job that waited would have one of its own.
    assert network.connections == 1
    assert tries == [("redis", False)]


async def test_out_of_memory(server: Server, store: redis.asyncio.Redis) -> None:
    await store.config_set("maxmemory-policy", "noeviction")
    await store.set("ballast", "x" * 3 * MIB)
    await store.config_set("maxmemory", "1mb")
    async with a_publisher(server.settings()) as publisher:
        await refused(publisher, Reason.REDIS_OUT_OF_MEMORY, "Raise maxmemory")
        await store.config_set("maxmemory", "0")
        await delivered_once(publisher, server)


async def test_read_only_replica(server: Server, store: redis.asyncio.Redis) -> None:
    async with a_publisher(server.settings()) as publisher:
        await store.replicaof("127.0.0.1", 1)
        await refused(publisher, Reason.REDIS_READ_ONLY, "primary")
        await store.replicaof("NO", "ONE")
        await delivered_once(publisher, server)


async def test_wrong_password(server: Server, store: redis.asyncio.Redis) -> None:
    async with a_publisher(server.settings(redis_password="wrong")) as publisher:
        await refused(publisher, Reason.REDIS_ACCESS_DENIED, "Secret")
        await store.config_set("requirepass", "wrong")
        changed = redis.asyncio.Redis(port=server.port, password="wrong", decode_responses=True)
        assert (await publisher.publish(RESULT)).stream_id is not None
        assert await changed.xlen("results") == 1
        await changed.aclose()


# The rights of the operator's user in docs/operations.md.
RIGHTS = ["+ping", "+eval", "+get", "+set", "+xadd", "+publish", "+del", "+xdel"]


ONE_MISSING = [
    pytest.param([r for r in RIGHTS if r != missing], "&result:*", id=missing)
    for missing in ("+eval", "+get", "+set", "+xadd", "+publish")
]


@pytest.mark.parametrize(
    ("rights", "channels"), [*ONE_MISSING, pytest.param(RIGHTS, "&other", id="channel")]
)
async def test_a_missing_right_leaves_no_partial_delivery(
    server: Server, store: redis.asyncio.Redis, rights: list[str], channels: str
) -> None:
    await _user(store, rights, channels)
    async with a_publisher(_as_user(server)) as publisher:
        await refused(publisher, Reason.REDIS_ACCESS_DENIED, "ACL")
        await _user(store, RIGHTS)
        await delivered_once(publisher, server)


async def _user(store: redis.asyncio.Redis, rights: list[str], channels: str = "&result:*") -> None:
    keys = ["~result:*", "~results", "~results:*"]
    await store.execute_command(
        "ACL", "SETUSER", "nanogrid", "reset", "on", ">pw", *keys, channels, *rights
    )


def _as_user(server: Server) -> Settings:
    url = f"redis://nanogrid@127.0.0.1:{server.port}/0"
    return server.settings(redis_url=url, redis_password="pw")


@pytest.mark.parametrize("stream", ["results", "results:team-a"])
async def test_a_stream_key_of_another_type_leaves_no_partial_delivery(
    server: Server, store: redis.asyncio.Redis, stream: str
) -> None:
    await store.set(stream, "no stream")
    async with a_publisher(server.settings()) as publisher:
        await refused(publisher, Reason.REDIS_REFUSED, "WRONGTYPE")
        await store.delete(stream)
        await delivered_once(publisher, server)


async def test_a_result_key_of_another_type_is_replaced(
    server: Server, store: redis.asyncio.Redis
) -> None:
    await store.rpush("result:order-1", "no string")  # type: ignore[misc]  # redis-py's union
    async with a_publisher(server.settings()) as publisher:
        delivery = await publisher.publish(RESULT)
    assert (delivery.state, bool(delivery.replaced)) == ("Delivered", True)
    assert await store.get("result:order-1") == wire.dumps(RESULT)


async def test_still_loading(server: Server) -> None:
    store = server.client()
    for number in range(400):
        await store.set(f"old:{number}", os.urandom(2000).hex())  # not compressible
    await store.save()
    await store.aclose()
    server.stop()
    slowly = ["--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024"]
    server.start(*slowly, "--dbfilename", "dump.rdb")
    async with a_publisher(server.settings()) as publisher:
        await refused(publisher, Reason.REDIS_UNAVAILABLE, "oading")
        await eventually_delivered(publisher)
    store = server.client()
    assert await store.xlen("results") == 1
    await store.aclose()


async def eventually_delivered(publisher: OneJobPublisher) -> None:
    """Try with the shortest pause of the work queue until a try delivers."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (await publisher.publish(RESULT)).state != "Delivered":  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def test_a_second_result_of_a_request_returns_the_delivered_one(server: Server) -> None:
    async with a_publisher(server.settings()) as publisher:
        await publisher.publish(RESULT)
        later = replace(RESULT, status="FAILED", reason="PodLost", exit_code=None)
        delivery = await publisher.publish(later)
        known = await publisher.previous_result(owner_of(RESULT))
        foreign = await publisher.previous_result(
            owner_of(replace(RESULT, job=replace(RESULT.job, uid="uid-2")))
        )
        none = await publisher.previous_result(owner_of(replace(RESULT, request_id="order-2")))
    assert (delivery.state, delivery.previous_result) == ("Delivered", RESULT)
    assert (known, foreign, none) == (RESULT, None, None)


async def test_without_redis_the_previous_result_is_unknown(tmp_path: Path) -> None:
    async with a_publisher(Server(tmp_path).settings()) as publisher:
        assert await publisher.previous_result(owner_of(RESULT)) is None


async def test_a_redis_cluster_is_refused_with_a_hint(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start("--cluster-enabled", "yes", "--cluster-config-file", str(tmp_path / "nodes"))
    try:
        store = server.client()
        async with a_publisher(server.settings()) as publisher:
            await refused(publisher, Reason.REDIS_REFUSED, HINT)  # it has no slots
            await store.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            for _ in range(1200):
                if "cluster_state:ok" in str(await store.execute_command("CLUSTER", "INFO")):
                    break
                await asyncio.sleep(0.05)
            await refused(publisher, Reason.REDIS_REFUSED, HINT)  # two slots in one script
        await store.aclose()
    finally:
        server.stop()


async def test_a_moved_slot_is_explained() -> None:
    error = redis.exceptions.MovedError("3999 127.0.0.1:6381")
    moved = redis_errors.refused(error, STANDALONE)

    assert (moved.state, moved.reason) == ("Pending", Reason.REDIS_REFUSED)
    assert "Redis Cluster" in moved.message
    assert HINT in moved.message
