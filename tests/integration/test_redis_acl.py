"""The Redis users of docs/operations.md on a real server: what each may do, and what not."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
import redis
import redis.asyncio
from redis.exceptions import NoPermissionError

from nanogrid import wire
from nanogrid.tenancy import Area
from support.builders import ROOT
from support.doc_blocks import run_blocks
from support.redis_server import (
    PASSWORD,
    RESULT,
    WAIT_SECONDS,
    Server,
    a_publisher,
    a_server,
    needs_redis,
    owner_of,
)

pytestmark = [pytest.mark.integration, needs_redis, pytest.mark.security]

PAGE = ROOT / "docs/operations.md"
UUID = "5d1e7a90-9d3b-4f57-8a37-6f0f3f6f9b02"
# Results with keys of the long form, of both namespaces.
LONG = [
    replace(RESULT, namespace=name, job=wire.JobRef(namespace=name, name="x", uid=f"uid-{name}"))
    for name in ("team-a", "team-b")
]
Command = tuple[str, ...]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with a_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def store(server: Server) -> AsyncIterator[redis.asyncio.Redis]:
    """A server with the documented users, and with results of two namespaces."""
    client = server.client()
    await client.flushall()
    found = re.findall(r"^ACL SETUSER (.*)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    # The others are of a Redis Cluster and of Sentinels.
    users = [rules for rules in found if "+cluster|" not in rules and "+sentinel|" not in rules]
    assert len(users) == 4
    for rules in users:
        await client.execute_command("ACL", "SETUSER", *rules.split())
    async with a_publisher(as_nanogrid(server)) as publisher:
        for result in (RESULT, replace(RESULT, request_id=UUID)):
            assert (await publisher.publish(result)).state == "Delivered"
        for result in LONG:
            area = Area.of(result.job.namespace, bucket="")
            assert (await publisher.publish(result, owner_of(result, area))).state == "Delivered"
    yield client
    await client.aclose()


def as_nanogrid(server: Server) -> Any:
    return server.settings(redis_username="nanogrid", redis_password="PASSWORD")


@asynccontextmanager
async def as_user(server: Server, name: str) -> AsyncIterator[redis.asyncio.Redis]:
    client = redis.asyncio.Redis(
        port=server.port, username=name, password="PASSWORD", decode_responses=True
    )
    try:
        yield client
    finally:
        await client.aclose()


ALLOWED: dict[str, list[Command]] = {
    "team-a": [
        ("PING",),
        ("GET", "result:team-a:order-1"),
        ("TTL", "result:team-a:order-1"),
        ("XRANGE", "results:team-a", "-", "+"),
        ("XREAD", "STREAMS", "results:team-a", "0"),
        ("XLEN", "results:team-a"),
    ],
    "gateway": [("PING",), ("GET", "result:order-1"), ("MGET", "result:order-1", f"result:{UUID}")],
    "legacy": [("GET", f"result:{UUID}"), ("EXISTS", f"result:{UUID}")],
}
# What would change a result, an entry or a message.
WRITES: list[Command] = [
    ("SET", "{key}", "forged"),
    ("GETDEL", "{key}"),
    ("DEL", "{key}"),
    ("EXPIRE", "{key}", "1"),
    ("APPEND", "{key}", "x"),
    ("RENAME", "{key}", "elsewhere"),
    ("PUBLISH", "{key}", "forged"),
    ("XADD", "{stream}", "*", "result", "forged"),
    ("XDEL", "{stream}", "0-1"),
    ("XTRIM", "{stream}", "MAXLEN", "0"),
    ("EVAL", "return 1", "0"),
    ("FLUSHALL",),
    ("CONFIG", "SET", "maxmemory", "1"),
    ("ACL", "SETUSER", "team-a", "~*"),
    ("KEYS", "*"),
    ("SCAN", "0"),
]
# What belongs to another namespace.
ELSEWHERE: dict[str, list[Command]] = {
    "team-a": [
        ("GET", "result:team-b:order-1"),
        ("MGET", "result:team-a:order-1", "result:team-b:order-1"),
        ("GET", "result:order-1"),
        ("GET", "result:team-a"),
        ("GET", "result:team-ab:order-1"),
        ("EXISTS", "result:team-b:order-1"),
        ("TTL", "result:team-b:order-1"),
        ("XRANGE", "results:team-b", "-", "+"),
        ("XRANGE", "results", "-", "+"),
        ("XREAD", "STREAMS", "results:team-a", "results", "0", "0"),
        ("XLEN", "results:team-b"),
        ("SUBSCRIBE", "result:team-b:order-1"),
        ("SUBSCRIBE", "result:order-1"),
        ("PSUBSCRIBE", "result:*"),
    ],
    "gateway": [
        ("XRANGE", "results", "-", "+"),
        ("GET", "results"),
        ("SUBSCRIBE", "other"),
        ("PSUBSCRIBE", "*"),
    ],
    "legacy": [
        ("GET", "result:team-a:order-1"),
        ("GET", f"result:team-b:{UUID}"),
        ("SUBSCRIBE", f"result:team-b:{UUID}"),
        ("XRANGE", "results:team-a", "-", "+"),
    ],
}
NAMES = {
    "team-a": {"key": "result:team-a:order-1", "stream": "results:team-a"},
    "gateway": {"key": "result:order-1", "stream": "results:team-a"},
    "legacy": {"key": f"result:{UUID}", "stream": "results:team-a"},
}
DENIED = [
    (user, tuple(word.format(**NAMES[user]) for word in command))
    for user in NAMES
    for command in WRITES + ELSEWHERE[user]
]


def test_there_are_thirty_denials_of_the_reader_of_a_namespace() -> None:
    assert len([user for user, _ in DENIED if user == "team-a"]) == 30


@pytest.mark.parametrize("user", NAMES)
async def test_a_user_can_do_its_work_and_nothing_else(
    server: Server, store: redis.asyncio.Redis, user: str
) -> None:
    allowed = []
    async with as_user(server, user) as client:
        for command in ALLOWED[user]:
            assert await client.execute_command(*command), command
        for name, command in DENIED:
            if name == user:
                try:
                    await client.execute_command(*command)
                except NoPermissionError:
                    continue
                allowed.append(command)
    assert allowed == []
    assert await store.get("result:order-1") == wire.dumps(RESULT), "nothing has changed"


async def test_a_reader_receives_the_messages_of_its_namespace(
    server: Server, store: redis.asyncio.Redis
) -> None:
    async with as_user(server, "team-a") as client, client.pubsub() as channel:
        await channel.subscribe("result:team-a:order-2")
        assert await channel.get_message(timeout=WAIT_SECONDS)
        await store.publish("result:team-a:order-2", "the result")
        message = await channel.get_message(timeout=WAIT_SECONDS)
    assert message is not None
    assert message["data"] == "the result"


async def test_the_operator_cannot_do_more_than_it_needs(
    server: Server, store: redis.asyncio.Redis
) -> None:
    async with as_user(server, "nanogrid") as client:
        assert await client.get("result:team-b:order-1")
        denied: list[Command] = [("KEYS", "*"), ("FLUSHALL",), ("SET", "x", "y"), ("ACL", "LIST")]
        for command in denied:
            with pytest.raises(NoPermissionError):
                await client.execute_command(*command)


@pytest.mark.parametrize(
    ("user", "request_id", "namespace"),
    [("team-a", "order-1", "team-a"), ("legacy", UUID, None), ("default", "order-1", None)],
)
async def test_the_documented_reader_finds_both_forms(
    server: Server, store: redis.asyncio.Redis, user: str, request_id: str, namespace: str | None
) -> None:
    space: dict[str, Any] = {}
    assert run_blocks(PAGE, {"reader"}, space) == 1
    password = PASSWORD if user == "default" else "PASSWORD"
    client = redis.Redis(port=server.port, username=user, password=password, decode_responses=True)
    with client:
        found = wire.loads(wire.Result, space["read_result"](client, request_id, namespace))
    assert (found.request_id, found.namespace) == (request_id, "team-a")
