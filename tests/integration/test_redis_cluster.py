"""Delivery to a Redis Cluster: by namespace, once, also while nodes fail and slots move."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import redis

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid.redis_clients import client, close, forget
from nanogrid.redis_url import CLUSTER, STANDALONE
from nanogrid.tenancy import Area
from nanogrid_operator.decision.outcome import Delivery
from nanogrid_operator.settings import Settings
from support.redis_delivery import refused
from support.redis_server import (
    PASSWORD,
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
from support.redis_topologies import SLOTS, Node, RedisCluster, nodes_asked_for_slots, until
from support.s3_server import free_port

pytestmark = [pytest.mark.integration, needs_redis]

NAMESPACES = ("team-a", "team-b", "team-c", "team-d", "team-e", "team-f")
AREA = Area.of("team-a", bucket="", redis_cluster=True)


@pytest.fixture
def store(cluster: RedisCluster) -> Iterator[redis.RedisCluster]:
    """A client of an empty cluster."""
    with cluster.client() as found:
        found.flushall()
        yield found


def result_in(namespace: str, request_id: str = "order-1") -> wire.Result:
    job = wire.JobRef(namespace=namespace, name="sales", uid=f"uid-{namespace}")
    return replace(RESULT, namespace=namespace, job=job, request_id=request_id)


def namespace_of(cluster: RedisCluster, node: Node) -> str:
    """A namespace whose slot a node has."""
    names = (f"team-{number}" for number in range(1000))
    return next(name for name in names if cluster.owner(f"results:{{{name}}}") is node)


async def publish(publisher: OneJobPublisher, result: wire.Result) -> Delivery:
    area = Area.of(result.job.namespace, bucket="", redis_cluster=True)
    return await publisher.publish(result, owner_of(result, area))


async def delivered(publisher: OneJobPublisher, result: wire.Result) -> Delivery:
    """Try until the result is delivered."""
    async with asyncio.timeout(WAIT_SECONDS):
        while (delivery := await publish(publisher, result)).state != "Delivered":
            assert delivery.reason is Reason.REDIS_UNAVAILABLE, delivery
            await asyncio.sleep(0.05)
    return delivery


def ids(store: redis.RedisCluster, namespace: str = "team-a") -> list[str]:
    """The requestIds in the stream of a namespace."""
    entries: Any = store.xrange(f"results:{{{namespace}}}")
    return [fields["requestId"] for _, fields in entries]


@asynccontextmanager
async def messages(node: Node, channel: str) -> AsyncIterator[Any]:
    """A subscription at one node."""
    async with (
        redis.asyncio.Redis(port=node.port, password=PASSWORD, decode_responses=True) as found,
        found.pubsub(ignore_subscribe_messages=True) as subscription,
    ):
        await subscription.subscribe(channel)
        await subscription.get_message(timeout=WAIT_SECONDS)
        yield subscription


async def test_every_namespace_has_its_slot_and_every_node_the_messages(
    cluster: RedisCluster, store: redis.RedisCluster
) -> None:
    results = [result_in(name) for name in NAMESPACES]
    async with (
        messages(cluster.nodes[0], "result:{team-a}:order-1") as first,
        messages(cluster.nodes[2], "result:{team-a}:order-1") as third,
        a_publisher(cluster.settings()) as publisher,
    ):
        deliveries = [await publish(publisher, result) for result in results]
        again = [await publish(publisher, result) for result in results]
        texts = [await one.get_message(timeout=WAIT_SECONDS) for one in (first, third)]
        more = [await one.get_message(timeout=0.1) for one in (first, third)]

    assert {(d.state, d.receivers, bool(d.stream_id)) for d in deliveries} == {
        ("Delivered", None, True)
    }
    assert {(d.state, d.message) for d in again} == {("Delivered", "delivered by an earlier try")}
    kept = [store.get(f"result:{{{name}}}:order-1") for name in NAMESPACES]
    assert [wire.loads(wire.Result, str(text)).namespace for text in kept] == list(NAMESPACES)
    assert [ids(store, name) for name in NAMESPACES] == [["order-1"]] * len(NAMESPACES)
    assert [text["data"] for text in texts] == [kept[0]] * 2
    assert more == [None, None]
    assert len({cluster.owner(f"results:{{{name}}}").port for name in NAMESPACES}) > 1
    assert not store.exists("results"), "there is no stream of the platform"


async def test_a_forged_value_is_replaced_once(
    cluster: RedisCluster, store: redis.RedisCluster
) -> None:
    store.set("result:{team-a}:order-1", "forged")
    result = result_in("team-a")
    async with a_publisher(cluster.settings()) as publisher:
        delivery = await publish(publisher, result)
        known = await publisher.previous_result(owner_of(result, AREA))
    assert (delivery.state, bool(delivery.replaced)) == ("Delivered", True)
    assert known is not None
    assert ids(store) == ["order-1"]


async def test_parallel_tries_deliver_a_result_once(
    cluster: RedisCluster, store: redis.RedisCluster
) -> None:
    result = result_in("team-a")
    async with a_publisher(cluster.settings()) as publisher:
        deliveries = await asyncio.gather(*(publish(publisher, result) for _ in range(20)))
    assert {d.state for d in deliveries} == {"Delivered"}
    assert len([d for d in deliveries if d.stream_id]) == 1
    assert ids(store) == ["order-1"]


async def test_a_slot_that_moves_loses_nothing_and_publishes_nothing_twice(
    cluster: RedisCluster, store: redis.RedisCluster
) -> None:
    stream = AREA.stream
    target = next(n for n in cluster.nodes[:3] if n is not cluster.owner(stream))
    published, moving, later = (result_in("team-a", f"order-{n}") for n in (1, 2, 3))
    async with a_publisher(cluster.settings()) as publisher:
        # Several connections to each node: one command's ASKING must not go through another one.
        await asyncio.gather(*(publish(publisher, published) for _ in range(8)))
        source = cluster.begin_move(stream, target)
        split = await publish(publisher, moving)  # the stream is there, the key is not
        keys = cluster.move_keys(stream, source, target)
        reads = [publisher.previous_result(owner_of(published, AREA)) for _ in range(4)]
        asked = await asyncio.gather(*reads)  # ASK
        again = await publish(publisher, published)  # ASK, with all keys of the script
        cluster.end_move(stream, source, target)
        after = [await delivered(publisher, result) for result in (moving, later)]  # MOVED
    assert (split.state, split.reason) == ("Pending", Reason.REDIS_UNAVAILABLE)
    assert "the slot of the namespace moves" in split.message
    assert len(keys) == 2
    assert None not in asked
    assert again.message == "delivered by an earlier try"
    assert all(d.stream_id for d in after)
    assert cluster.owner(stream) is target
    assert ids(store) == ["order-1", "order-2", "order-3"]


async def test_a_node_that_joins_is_found_by_ask(
    cluster: RedisCluster, store: redis.RedisCluster
) -> None:
    """The client has read the slots before; ASK names a node that it does not know."""
    target = next(n for n in cluster.nodes[:3] if n is not cluster.owner(AREA.stream))
    server = cluster.settings().redis_server
    commands: Any = client(server, decode_responses=True, socket_timeout=WAIT_SECONDS)
    try:
        await commands.set(AREA.result_key("here"), "x")
        gone = commands.nodes_manager.nodes_cache.pop(f"127.0.0.1:{target.port}")
        source = cluster.begin_move(AREA.stream, target)
        assert await commands.get(AREA.result_key("none")) is None
        for node in (source, target):
            node.call("CLUSTER", "SETSLOT", cluster.slot(AREA.stream), "STABLE")
        await gone.disconnect()
    finally:
        await close(commands)


async def test_a_cluster_with_new_addresses_is_found_by_its_name(tmp_path: Path) -> None:
    """As after a restart of all pods: none of the nodes that the client knows is there."""
    nodes = [Node(tmp_path, free_port()) for _ in range(2)]
    try:
        for node in nodes:  # each needs two seconds
            node.start("--cluster-enabled", "yes", "--requirepass", PASSWORD)
            node.call("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
        for node in nodes:
            until(partial(serves, node), "the cluster")
        async with Network(nodes[0].port) as name:
            settings = Settings(
                redis_url=f"redis://127.0.0.1:{name.port}",
                redis_mode=CLUSTER,
                redis_password=PASSWORD,
            )
            async with a_publisher(settings) as publisher:
                assert (await publish(publisher, result_in("team-a"))).state == "Delivered"
                nodes[0].kill()
                name.target = nodes[1].port
                assert (await delivered(publisher, result_in("team-a"))).stream_id
    finally:
        for node in nodes:
            node.kill()


def serves(node: Node) -> bool:
    return "cluster_state:ok" in str(node.call("CLUSTER", "INFO"))


async def test_a_cluster_and_another_server_are_told_apart(
    cluster: RedisCluster, tmp_path: Path
) -> None:
    node = cluster.owner(AREA.stream)
    url = f"redis://127.0.0.1:{node.port}"
    settings = cluster.settings(redis_url=url, redis_mode=STANDALONE)
    async with a_publisher(settings) as publisher:
        await refused(publisher, Reason.REDIS_REFUSED, "set redis.mode to Cluster")
    settings = cluster.settings(redis_url=f"{url}/3", redis_mode=STANDALONE)
    async with a_publisher(settings) as publisher:
        await refused(publisher, Reason.REDIS_REFUSED, "set redis.mode to Cluster")
    with a_server(tmp_path) as server:
        settings = cluster.settings(redis_url=f"redis://127.0.0.1:{server.port}")
        async with a_publisher(settings) as publisher:
            await refused(publisher, Reason.REDIS_REFUSED, "set redis.mode to Standalone")


async def test_a_wrong_password_and_absent_nodes_are_explained(
    cluster: RedisCluster, tmp_path: Path
) -> None:
    async with a_publisher(cluster.settings(redis_password="wrong")) as publisher:
        await refused(publisher, Reason.REDIS_ACCESS_DENIED, "AuthenticationError")
    url = f"redis://127.0.0.1:{Server(tmp_path).port}"
    async with a_publisher(cluster.settings(redis_url=url)) as publisher:
        await refused(publisher, Reason.REDIS_UNAVAILABLE, "onnect")
        with pytest.raises(redis.exceptions.RedisClusterException):
            await publisher.check()
    async with a_publisher(cluster.settings()) as publisher:
        await publisher.check()


async def test_a_node_that_hangs_delays_its_own_namespaces_only(
    cluster: RedisCluster, store: redis.RedisCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = nodes_asked_for_slots(monkeypatch)
    here, there = (namespace_of(cluster, node) for node in cluster.nodes[1:3])
    settings = cluster.settings(redis_timeout_seconds=1.0)
    async with a_publisher(settings, silence_seconds=WAIT_SECONDS) as publisher:
        for namespace in (here, there):
            assert (await publish(publisher, result_in(namespace))).state == "Delivered"
        with cluster.hanging(cluster.nodes[1]):
            waited = await publish(publisher, result_in(here, "waited"))
            async with asyncio.timeout(0.5):  # no further job waits for the node
                refused_at_once = await publish(publisher, result_in(here, "refused"))
            others, first = [], len(asked)
            for number in range(12):
                await forget(publisher._client)  # an error makes the next job read the slots
                others.append(await publish(publisher, result_in(there, f"{number}")))
    assert (waited.state, waited.reason) == ("Pending", Reason.REDIS_UNAVAILABLE)
    assert refused_at_once.message == waited.message
    assert {other.state for other in others} == {"Delivered"}
    assert len(asked) - first >= len(others)
    assert cluster.nodes[1].port not in asked[first:], "no other job waits for its answer"


async def test_a_killed_node_is_replaced_and_nothing_is_published_twice(
    cluster: RedisCluster, store: redis.RedisCluster
) -> None:
    """The last test of the module: one node stays away."""
    old, replica = cluster.nodes[0], cluster.nodes[3]
    namespace = namespace_of(cluster, old)
    before, after = result_in(namespace), result_in(namespace, "after")
    async with a_publisher(cluster.settings()) as publisher:
        assert (await publish(publisher, before)).state == "Delivered"
        with old.client() as client:
            assert client.wait(1, WAIT_SECONDS * 1000) == 1, "the replica has the result"
        old.kill()
        first = await publish(publisher, after)
        await publisher.check()  # another node answers
        await delivered(publisher, after)
        again = await publish(publisher, before)
    assert first.state == "Pending", "the node was really away"
    assert cluster.owner(f"results:{{{namespace}}}") is replica
    assert again.message == "delivered by an earlier try"
    with cluster.client() as found:
        assert ids(found, namespace) == ["order-1", "after"]
