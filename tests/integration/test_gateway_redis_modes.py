"""A gateway that waits for a result while Sentinels or a Redis Cluster replace a server.

The gateways wait for an hour, and nothing writes the status of the jobs. So an answer shows that
the result came from Redis.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from nanogrid.tenancy import Area
from nanogrid_operator.settings import Settings
from support.gateway_cluster import NAMESPACE
from support.gateway_fixtures import MARKS
from support.gateway_results import result_of
from support.gateway_runs import CODE, Later
from support.gateway_world import Gateway, World, wait_for
from support.redis_server import a_publisher, owner_of
from support.redis_topologies import Node, RedisCluster, Sentinels, started

pytestmark = MARKS

IN_CLUSTER = Area.of(NAMESPACE, bucket="", redis_cluster=True)
WITH_SENTINELS = Area.of(NAMESPACE, bucket="")


@pytest.fixture(scope="module")
def sentinels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sentinels]:
    with started(Sentinels(tmp_path_factory.mktemp("sentinels"))) as topology:
        yield topology


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with started(RedisCluster(tmp_path_factory.mktemp("cluster"))) as topology:
        yield topology


class Waiting:
    """A request that waits for its result, and the delivery of that."""

    def __init__(self, world: World, gateway: Gateway, area: Area, request_id: str) -> None:
        answer = gateway.upload(CODE, runtime="python")
        assert answer.status == 201, answer.body
        self.channel = area.result_key(request_id)
        self._world, self._area, self._request_id = world, area, request_id
        self._call = Later(gateway, answer.json["functionId"], {}, requestId=request_id)
        wait_for(lambda: world.cluster.jobs(request_id), "the job, after the subscription")

    def subscribed(self, node: Node) -> bool:
        return bool(node.call("PUBSUB", "NUMSUB", self.channel)[1])

    def deliver(self, settings: Settings) -> None:
        """Deliver the result, as often as it takes."""
        wait_for(lambda: asyncio.run(self._try(settings)) == "Delivered", "the delivery")

    async def _try(self, settings: Settings) -> str:
        result = result_of(self._world.cluster.job(self._request_id))
        async with a_publisher(settings) as publisher:
            return (await publisher.publish(result, owner_of(result, self._area))).state

    def check(self) -> None:
        """The result has arrived."""
        answer = self._call.answer()
        assert answer.status == 200, answer.body
        assert answer.json["requestId"] == self._request_id


@contextmanager
def a_gateway(world: World, topology: Sentinels | RedisCluster) -> Iterator[Gateway]:
    with world.gateway(**topology.given()) as gateway:
        yield gateway


def test_the_master_changes_and_then_fails(world: World, sentinels: Sentinels) -> None:
    with a_gateway(world, sentinels) as gateway:
        first = Waiting(world, gateway, WITH_SENTINELS, "planned")
        old = sentinels.master()
        assert first.subscribed(old)
        sentinels.sentinels[0].call("SENTINEL", "FAILOVER", "results")
        wait_for(lambda: sentinels.master() is not old, "the failover")
        wait_for(lambda: first.subscribed(sentinels.master()), "the new subscription")
        first.deliver(sentinels.settings())
        first.check()

        # Sentinels wait for ten seconds before they do this.
        old.call("REPLICAOF", "127.0.0.1", sentinels.master().port)
        wait_for(sentinels.replicated, "the old master is a replica")
        second = Waiting(world, gateway, WITH_SENTINELS, "killed")
        sentinels.master().kill()
        second.deliver(sentinels.settings())
        second.check()
    entries = sentinels.master().call("XRANGE", "results", "-", "+")
    assert [fields["requestId"] for _, fields in entries] == ["planned", "killed"]


def test_the_slot_moves_and_then_its_node_fails(world: World, cluster: RedisCluster) -> None:
    stream = IN_CLUSTER.stream
    with_replica, others = cluster.nodes[0], cluster.nodes[1:3]
    if (owner := cluster.owner(stream)) is with_replica:
        cluster.begin_move(stream, others[0])
        cluster.end_move(stream, owner, others[0])
    with a_gateway(world, cluster) as gateway:
        plain = Waiting(world, gateway, IN_CLUSTER, "plain")
        assert plain.subscribed(cluster.owner(stream))
        plain.deliver(cluster.settings())
        plain.check()

        first = Waiting(world, gateway, IN_CLUSTER, "moved")
        source = cluster.begin_move(stream, with_replica)
        cluster.move_keys(stream, source, with_replica)
        cluster.end_move(stream, source, with_replica)
        wait_for(lambda: first.subscribed(with_replica), "the subscription at the new owner")
        first.deliver(cluster.settings())
        first.check()

        second = Waiting(world, gateway, IN_CLUSTER, "failed")
        wait_for(cluster.replicated, "the replica")
        with_replica.kill()
        second.deliver(cluster.settings())
        second.check()
    assert cluster.owner(stream) is cluster.nodes[3]
    entries: Any = cluster.nodes[3].call("XRANGE", stream, "-", "+")
    assert [fields["requestId"] for _, fields in entries] == ["plain", "moved", "failed"]
