"""A real Redis in every state it can be in: what is told, why it is not, and that it is told once.

Each trouble ends in the same way: it is mended, and the very next try delivers.
"""

import asyncio
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio

from integration.redis_server import (
    PASSWORD,
    RESULT,
    Network,
    Server,
    a_publisher,
    needs_redis,
    subscribed,
)
from nanogrid.reasons import Reason
from nanogrid_operator import publish
from nanogrid_operator.outcome import Delivery
from nanogrid_operator.publish import Publisher
from nanogrid_operator.settings import Settings

pytestmark = [pytest.mark.integration, needs_redis]

MIB = 1 << 20


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture(autouse=True)
def asked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "SILENCE_SECONDS", 0.0)


async def refused(publisher: Publisher, reason: Reason, *words: str) -> Delivery:
    delivery = await publisher.publish(RESULT)
    assert (delivery.state, delivery.reason) == ("Pending", reason), delivery
    for word in words:
        assert word in delivery.message
    return delivery


async def delivered_once(publisher: Publisher, server: Server) -> None:
    """The next try is the first that delivers; another one adds nothing."""
    store = server.client()
    assert await store.get("result:order-1") is None
    assert await store.xlen("results") == 0
    async with subscribed(store, "result:order-1") as subscription:
        deliveries = [await publisher.publish(RESULT) for _ in range(2)]
        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=5)
        another = await subscription.get_message(ignore_subscribe_messages=True, timeout=0.1)
    assert [d.state for d in deliveries] == ["Delivered"] * 2
    assert (deliveries[0].receivers, deliveries[1].receivers) == (1, None)
    assert message is not None
    assert another is None
    assert await store.xlen("results") == 1
    await store.aclose()


async def test_down(tmp_path: Path) -> None:
    server = Server(tmp_path)
    async with a_publisher(server.settings()) as publisher:
        await refused(publisher, Reason.REDIS_UNAVAILABLE, "onnect", "Check that Redis runs")
        server.start()
        try:
            await delivered_once(publisher, server)
        finally:
            server.stop()


async def test_slower_than_the_timeout(server: Server) -> None:
    store = server.client()
    settings = server.settings(redis_timeout_seconds=0.2)
    async with a_publisher(settings) as publisher:
        await store.client_pause(1500)
        began = time.monotonic()
        delivery = await refused(publisher, Reason.REDIS_UNAVAILABLE, "Timeout")
        assert time.monotonic() - began < 1.0
        await store.client_unpause()
        # The paused server may have kept the request and acted on it afterwards: ours either way.
        again = await publisher.publish(RESULT)
    assert delivery.state == "Pending"
    assert again.state == "Delivered"
    assert await store.xlen("results") == 1
    await store.aclose()


async def test_one_that_hangs_is_waited_for_once_and_not_by_every_job(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publish, "SILENCE_SECONDS", 60.0)
    store = server.client()
    async with a_publisher(server.settings(redis_timeout_seconds=0.2)) as publisher:
        await store.client_pause(1000)
        await publisher.publish(RESULT)
        began = time.monotonic()
        others = [await publisher.publish(RESULT) for _ in range(50)]
        took = time.monotonic() - began
    await store.client_unpause()
    await store.aclose()
    assert {d.state for d in others} == {"Pending"}
    assert took < 0.1


async def test_out_of_memory(server: Server) -> None:
    store = server.client()
    await store.config_set("maxmemory-policy", "noeviction")
    await store.set("ballast", "x" * 3 * MIB)
    await store.config_set("maxmemory", "1mb")
    async with a_publisher(server.settings()) as publisher:
        await refused(publisher, Reason.REDIS_OUT_OF_MEMORY, "Raise maxmemory")
        await store.config_set("maxmemory", "0")
        await delivered_once(publisher, server)
    await store.aclose()


async def test_read_only_replica(server: Server) -> None:
    store = server.client()
    async with a_publisher(server.settings()) as publisher:
        await store.replicaof("127.0.0.1", 1)
        await refused(publisher, Reason.REDIS_READ_ONLY, "primary")
        await store.replicaof("NO", "ONE")
        await delivered_once(publisher, server)
    await store.aclose()


async def test_wrong_password(server: Server) -> None:
    store = server.client()
    async with a_publisher(server.settings(redis_password="wrong")) as publisher:
        await refused(publisher, Reason.REDIS_ACCESS_DENIED, "Secret")
        await store.config_set("requirepass", "wrong")
        changed = redis.asyncio.Redis(port=server.port, password="wrong", decode_responses=True)
        assert (await publisher.publish(RESULT)).stream_id is not None
        assert await changed.xlen("results") == 1
        await changed.aclose()
    await store.aclose()


# What docs/operations.md gives to the operator's user.
RIGHTS = ["+ping", "+eval", "+get", "+set", "+xadd", "+publish", "+del", "+xdel"]


@pytest.mark.parametrize("missing", ["+eval", "+get", "+set", "+xadd", "+publish"])
async def test_a_right_that_is_missing_leaves_nothing_half_told(
    server: Server, missing: str
) -> None:
    store = server.client()
    rights = [right for right in RIGHTS if right != missing]
    await _user(store, rights)
    async with a_publisher(_as_user(server)) as publisher:
        await refused(publisher, Reason.REDIS_ACCESS_DENIED, "ACL")
        await _user(store, RIGHTS)
        await delivered_once(publisher, server)
    await store.aclose()


async def test_a_channel_that_is_denied_leaves_nothing_half_told(server: Server) -> None:
    store = server.client()
    await _user(store, RIGHTS, channels="&other")
    async with a_publisher(_as_user(server)) as publisher:
        await refused(publisher, Reason.REDIS_ACCESS_DENIED, "ACL")
        await _user(store, RIGHTS)
        await delivered_once(publisher, server)
    await store.aclose()


async def _user(store: redis.asyncio.Redis, rights: list[str], channels: str = "&result:*") -> None:
    keys = ["~result:*", "~results"]
    await store.execute_command(
        "ACL", "SETUSER", "nanogrid", "reset", "on", ">pw", *keys, channels, *rights
    )


def _as_user(server: Server) -> Settings:
    url = f"redis://nanogrid@127.0.0.1:{server.port}/0"
    return server.settings(redis_url=url, redis_password="pw")


async def test_a_stream_key_of_another_type_leaves_nothing_half_told(server: Server) -> None:
    store = server.client()
    await store.set("results", "no stream")
    async with a_publisher(server.settings()) as publisher:
        await refused(publisher, Reason.REDIS_REFUSED, "WRONGTYPE")
        await store.delete("results")
        await delivered_once(publisher, server)
    await store.aclose()


async def test_a_result_key_of_another_type_is_named(server: Server) -> None:
    store = server.client()
    await store.rpush("result:order-1", "no string")  # type: ignore[misc]  # redis-py's union
    async with a_publisher(server.settings()) as publisher:
        await refused(publisher, Reason.REDIS_REFUSED, "WRONGTYPE")
    assert await store.xlen("results") == 0
    await store.aclose()


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
        assert await eventually_delivered(publisher) < 10
    store = server.client()
    assert await store.xlen("results") == 1
    await store.aclose()


async def eventually_delivered(publisher: Publisher) -> float:
    """Seconds until a try delivers, tried as often as the work queue does at its quickest."""
    began = time.monotonic()
    while (await publisher.publish(RESULT)).state != "Delivered":
        assert time.monotonic() - began < 15
        await asyncio.sleep(0.1)
    return time.monotonic() - began


async def test_restarted_empty_after_a_delivery_takes_the_next_results(server: Server) -> None:
    """What was delivered was delivered; consumers of an empty Redis read it from S3 or the CR."""
    async with a_publisher(server.settings()) as publisher:
        assert (await publisher.publish(RESULT)).state == "Delivered"
        server.stop()
        server.start()
        # The pooled connection is dead: that costs no try.
        other = await publisher.publish(replace(RESULT, request_id="order-2"))
    assert other.stream_id is not None


async def test_restarted_empty_before_the_status_was_written_is_told_anew(server: Server) -> None:
    async with a_publisher(server.settings()) as publisher:
        await publisher.publish(RESULT)
        server.stop()
        server.start()
        await delivered_once(publisher, server)


async def test_failed_over_behind_one_name(server: Server, tmp_path: Path) -> None:
    other = Server(tmp_path)
    other.start("--replicaof", f"127.0.0.1 {server.port}", "--masterauth", PASSWORD)
    old, new = server.client(), other.client()
    try:
        async with Network(server.port) as network:
            settings = server.settings(redis_url=f"redis://127.0.0.1:{network.port}/0")
            async with a_publisher(settings) as publisher:
                await publisher.publish(replace(RESULT, request_id="before"))
                # As Sentinel does it: promote one, demote the other, whose clients stay connected.
                await new.replicaof("NO", "ONE")
                await old.replicaof("127.0.0.1", str(other.port))
                network.target = other.port
                await refused(publisher, Reason.REDIS_READ_ONLY)
                await delivered_once(publisher, other)
    finally:
        await old.aclose()
        await new.aclose()
        other.stop()


async def test_a_lost_answer_is_recognised_and_not_told_twice(server: Server) -> None:
    store = server.client()
    async with Network(server.port) as network:
        settings = server.settings(
            redis_url=f"redis://127.0.0.1:{network.port}/0", redis_timeout_seconds=0.3
        )
        async with a_publisher(settings) as publisher, subscribed(store, "result:order-1") as told:
            await publisher.publish(replace(RESULT, request_id="before"))
            network.deaf = True
            lost = await publisher.publish(RESULT)
            network.deaf = False
            found = await publisher.publish(RESULT)
            messages = [
                await told.get_message(ignore_subscribe_messages=True, timeout=t) for t in (5, 0.1)
            ]
    entries: Any = await store.xrange("results")
    await store.aclose()
    assert lost.state == "Pending"
    assert found == Delivery(state="Delivered", message="delivered by an earlier try")
    assert [m is None for m in messages] == [False, True]
    assert [fields["requestId"] for _, fields in entries] == ["before", "order-1"]


async def test_what_was_told_comes_back_when_something_else_is_to_be_told(server: Server) -> None:
    async with a_publisher(server.settings()) as publisher:
        await publisher.publish(RESULT)
        later = replace(RESULT, status="FAILED", reason="PodLost", exit_code=None, attempt=1)
        delivery = await publisher.publish(later)
        known = await publisher.told_before("order-1", "uid-1")
        foreign = await publisher.told_before("order-1", "uid-2")
        none = await publisher.told_before("order-2", "uid-1")
    assert (delivery.state, delivery.told) == ("Delivered", RESULT)
    assert (known, foreign, none) == (RESULT, None, None)


async def test_whether_something_was_told_is_unknown_without_redis(tmp_path: Path) -> None:
    async with a_publisher(Server(tmp_path).settings()) as publisher:
        assert await publisher.told_before("order-1", "uid-1") is None


async def test_a_node_of_a_cluster_is_refused_with_what_is_needed_instead(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start("--cluster-enabled", "yes", "--cluster-config-file", str(tmp_path / "nodes"))
    try:
        store = server.client()
        async with a_publisher(server.settings()) as publisher:
            await refused(publisher, Reason.REDIS_REFUSED, "no cluster")  # it serves no slots
            await store.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            for _ in range(200):
                if "cluster_state:ok" in str(await store.execute_command("CLUSTER", "INFO")):
                    break
                await asyncio.sleep(0.05)
            await refused(publisher, Reason.REDIS_REFUSED, "no cluster")  # two slots in one script
        await store.aclose()
    finally:
        server.stop()


async def test_a_moved_slot_is_explained() -> None:
    moved = publish.refused(redis.exceptions.MovedError("3999 127.0.0.1:6381"))

    assert (moved.state, moved.reason) == ("Pending", Reason.REDIS_REFUSED)
    assert "Redis Cluster" in moved.message
    assert "no cluster" in moved.message
