"""The Redis users of docs/operations.md in a Redis Cluster and for Sentinels, and the reader."""

import re
from dataclasses import replace
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid.redis_clients import client, close
from nanogrid.redis_listener import Listener
from nanogrid.redis_url import RedisServer
from nanogrid.tenancy import Area
from support.builders import ROOT
from support.doc_blocks import run_blocks
from support.redis_server import RESULT, WAIT_SECONDS, a_publisher, needs_redis, owner_of
from support.redis_topologies import RedisCluster, Sentinels, nodes_asked_for_slots

pytestmark = [pytest.mark.integration, needs_redis, pytest.mark.security]

PAGE = ROOT / "docs/operations.md"
USERS = re.findall(r"^ACL SETUSER (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
AREAS = [Area.of(name, bucket="", redis_cluster=True) for name in ("team-a", "team-b")]
RESULTS = [
    replace(RESULT, namespace=name, job=wire.JobRef(namespace=name, name="x", uid=f"uid-{name}"))
    for name in ("team-a", "team-b")
]


@pytest.fixture(scope="module", autouse=True)
def users(cluster: RedisCluster) -> None:
    """The documented users on every node of an empty cluster; the gateway's namespace is team-a."""
    documented = [rules for rules in USERS if "+cluster|slots" in rules]
    assert len(documented) == 3
    with cluster.client() as store:
        store.flushall()
    for node in cluster.running():
        for rules in documented:
            node.call("ACL", "SETUSER", *rules.replace("{NAMESPACE}", "{team-a}").split())


def server_of(cluster: RedisCluster, user: str) -> RedisServer:
    return cluster.settings(redis_username=user, redis_password="PASSWORD").redis_server


async def test_the_operator_can_deliver_and_nothing_else(cluster: RedisCluster) -> None:
    settings = cluster.settings(redis_username="nanogrid", redis_password="PASSWORD")
    async with a_publisher(settings) as publisher:
        for result, area in zip(RESULTS, AREAS, strict=True):
            delivery = await publisher.publish(result, owner_of(result, area))
            assert delivery.state == "Delivered", delivery.message
        assert await publisher.previous_result(owner_of(RESULTS[0], AREAS[0])) is not None
        await publisher.check()
    found: Any = client(server_of(cluster, "nanogrid"), decode_responses=True)
    for command in (
        ("SET", "x", "y"),
        ("GET", "result:order-1"),
        ("XADD", "results", "*", "a", "b"),
    ):
        with pytest.raises(NoPermissionError):
            await found.execute_command(*command)
    await close(found)


async def test_the_gateway_can_read_and_listen_in_its_namespace(cluster: RedisCluster) -> None:
    server, key = server_of(cluster, "gateway"), AREAS[0].result_key("order-9")
    commands: Any = client(server, decode_responses=True)
    assert await commands.mget([key, AREAS[0].result_key("order-8")]) == [None, None]
    listener = Listener(server, commands, key, decode_responses=True)
    pubsub = await listener.pubsub()
    await pubsub.subscribe(key)
    assert await pubsub.get_message(timeout=WAIT_SECONDS)
    with cluster.client() as store:
        store.publish(key, "the result")
    message = await pubsub.get_message(timeout=WAIT_SECONDS)
    assert message is not None
    assert message["data"] == "the result"
    await listener.check()
    await pubsub.aclose()
    await listener.aclose()
    for command in (("SET", key, "forged"), ("GET", AREAS[1].result_key("order-1"))):
        with pytest.raises(NoPermissionError):
            await commands.execute_command(*command)
    await close(commands)


def test_the_documented_reader_reads_its_namespace_only(cluster: RedisCluster) -> None:
    space: dict[str, Any] = {}
    assert run_blocks(PAGE, {"reader"}, space) == 1
    with redis.RedisCluster(
        host="127.0.0.1",
        port=cluster.nodes[1].port,
        username="team-a",
        password="PASSWORD",
        decode_responses=True,
    ) as reader:
        text = space["read_result"](reader, "order-1", "team-a", cluster=True)
        assert wire.loads(wire.Result, text).namespace == "team-a"
        entries: Any = reader.xrange("results:{team-a}")
        assert [fields["requestId"] for _, fields in entries] == ["order-1"]
        for key in ("result:{team-b}:order-1", "result:team-a:order-1"):
            with pytest.raises(NoPermissionError):
                reader.get(key)


async def test_the_user_of_the_sentinels_can_only_ask_for_masters(sentinels: Sentinels) -> None:
    (rules,) = [rules for rules in USERS if "+sentinel|masters" in rules]
    for sentinel in sentinels.sentinels:
        sentinel.call("ACL", "SETUSER", *rules.split())
    settings = sentinels.settings(
        redis_sentinel_username="watcher", redis_sentinel_password="PASSWORD"
    )
    async with a_publisher(settings) as publisher:
        delivery = await publisher.publish(RESULT)
    port = sentinels.sentinels[0].port
    with (
        redis.Redis(port=port, username="watcher", password="PASSWORD") as watcher,
        pytest.raises(NoPermissionError),
    ):
        watcher.execute_command("SENTINEL", "FAILOVER", "results")
    assert delivery.state == "Delivered", delivery.message


@pytest.mark.parametrize("missing", ["+command", "+cluster|slots", "+eval", "+xadd"])
async def test_a_missing_permission_is_explained(
    cluster: RedisCluster, missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (rules,) = [rules for rules in USERS if rules.startswith("nanogrid ") and "+command" in rules]
    name = f"without-{missing.strip('+').replace('|', '-')}"
    words = [name, *(word for word in rules.split()[1:] if word != missing)]
    for node in cluster.running():
        node.call("ACL", "SETUSER", *words)
    settings = cluster.settings(redis_username=name, redis_password="PASSWORD")
    asked = nodes_asked_for_slots(monkeypatch)
    async with a_publisher(settings) as publisher:
        result = replace(RESULTS[0], request_id=name)
        for _ in range(3):
            delivery = await publisher.publish(result, owner_of(result, AREAS[0]))
    if missing in ("+eval", "+xadd"):
        assert len(asked) == 1, "a refused result does not make all other jobs connect again"
    assert (delivery.state, delivery.reason) == ("Pending", Reason.REDIS_ACCESS_DENIED), delivery
