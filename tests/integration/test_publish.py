"""Delivery with a real Redis: once per request, to key, stream and subscribers."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid.tenancy import Area
from nanogrid_operator.decision.outcome import Delivery
from support.redis_server import (
    KEYS,
    RESULT,
    WAIT_SECONDS,
    OneJobPublisher,
    Server,
    a_publisher,
    a_server,
    needs_redis,
    owner_of,
    subscribed,
)

pytestmark = [pytest.mark.integration, needs_redis, pytest.mark.security]


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with a_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def store(running_server: Server) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of an empty server."""
    client = running_server.client()
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def publisher(running_server: Server) -> AsyncIterator[OneJobPublisher]:
    async with a_publisher(running_server.settings()) as publisher:
        yield publisher


async def test_key_stream_and_subscriber_get_the_same_bytes(
    publisher: OneJobPublisher, store: redis.asyncio.Redis
) -> None:
    async with subscribed(store, "result:order-1") as subscription:
        delivery = await publisher.publish(RESULT)
        message = await subscription.get_message(
            ignore_subscribe_messages=True, timeout=WAIT_SECONDS
        )

    text = wire.dumps(RESULT)
    entries: Any = await store.xrange("results:team-a")
    ((entry, fields),) = entries
    of_platform: Any = await store.xrange("results")
    assert [found for _, found in of_platform] == [fields]
    assert message is not None
    assert message["data"] == text
    assert await store.get("result:order-1") == text
    assert fields == {
        "requestId": "order-1",
        "namespace": "team-a",
        "status": "SUCCESS",
        "result": text,
    }
    assert delivery == Delivery(state="Delivered", receivers=1, stream_id=entry)


async def test_a_late_reader_gets_the_result(
    publisher: OneJobPublisher, store: redis.asyncio.Redis
) -> None:
    delivery = await publisher.publish(RESULT)

    kept = await store.get("result:order-1")
    assert json.loads(str(kept))["stdout"] == "합계 157,685,452원\n"
    assert delivery.receivers == 0


@pytest.mark.parametrize("status", ["FAILED", "TIMEOUT"])
async def test_failures_are_delivered_like_successes(
    publisher: OneJobPublisher, store: redis.asyncio.Redis, status: str
) -> None:
    result = replace(RESULT, status=status, exit_code=None)

    delivery = await publisher.publish(result)

    assert delivery.state == "Delivered"
    assert await store.get("result:order-1") == wire.dumps(KEYS.sign(result))


async def test_repeated_tries_deliver_a_result_once(
    publisher: OneJobPublisher, store: redis.asyncio.Redis
) -> None:
    async with subscribed(store, "result:order-1") as subscription:
        first, *others = [await publisher.publish(RESULT) for _ in range(3)]
        await subscription.get_message(ignore_subscribe_messages=True, timeout=WAIT_SECONDS)
        second = await subscription.get_message(ignore_subscribe_messages=True, timeout=0.1)

    assert first.receivers == 1
    assert [(d.state, d.message) for d in others] == [
        ("Delivered", "delivered by an earlier try")
    ] * 2
    assert second is None
    assert await store.xlen("results") == 1


async def test_parallel_tries_deliver_a_result_once(
    running_server: Server, store: redis.asyncio.Redis
) -> None:
    async with a_publisher(running_server.settings()) as publisher:
        deliveries = await asyncio.gather(*(publisher.publish(RESULT) for _ in range(20)))

    assert {d.state for d in deliveries} == {"Delivered"}
    assert len([d for d in deliveries if d.stream_id]) == 1
    assert await store.xlen("results") == 1


async def test_a_later_result_does_not_replace_a_delivered_one(
    publisher: OneJobPublisher, store: redis.asyncio.Redis
) -> None:
    await publisher.publish(RESULT)

    await publisher.publish(replace(RESULT, status="FAILED"))

    assert await store.get("result:order-1") == wire.dumps(RESULT)


async def test_a_request_id_of_another_job_is_a_conflict_that_names_the_job(
    publisher: OneJobPublisher, store: redis.asyncio.Redis
) -> None:
    await publisher.publish(RESULT)
    other = replace(RESULT, job=replace(RESULT.job, uid="uid-2"))

    delivery = await publisher.publish(other)

    assert delivery == Delivery(
        state="Conflict", message="result:order-1 holds the result of job uid uid-1"
    )
    assert await store.get("result:order-1") == wire.dumps(RESULT)


@pytest.mark.parametrize("junk", ["", "no json", "[]", '{"job": null}', '{"job": {}}'])
async def test_other_content_is_replaced_and_published(
    publisher: OneJobPublisher, store: redis.asyncio.Redis, junk: str
) -> None:
    await store.set("result:order-1", junk)

    async with subscribed(store, "result:order-1") as subscription:
        delivery = await publisher.publish(RESULT)
        message = await subscription.get_message(
            ignore_subscribe_messages=True, timeout=WAIT_SECONDS
        )

    assert (delivery.state, delivery.receivers) == ("Delivered", 1)
    assert "result:order-1 does not hold a result" in delivery.replaced
    assert message is not None
    assert await store.get("result:order-1") == message["data"] == wire.dumps(RESULT)


@pytest.mark.parametrize(
    "content", [b"\xff\xfe{", b"x" * (4 << 20)], ids=["no text", "more than any result"]
)
async def test_impossible_content_is_replaced(
    publisher: OneJobPublisher, store: redis.asyncio.Redis, content: bytes
) -> None:
    await store.set("result:order-1", content)

    known = await publisher.previous_result(owner_of(RESULT))
    delivery = await publisher.publish(RESULT)

    assert known is None
    assert (delivery.state, bool(delivery.replaced)) == ("Delivered", True)
    assert await store.get("result:order-1") == wire.dumps(RESULT)


async def test_the_published_result_is_found(publisher: OneJobPublisher) -> None:
    await publisher.publish(RESULT)

    assert await publisher.previous_result(owner_of(RESULT)) == RESULT


FORGED = {
    "no code": replace(RESULT, status="FAILED", authentication=None),
    "wrong code": replace(RESULT, status="FAILED"),
    "an earlier attempt": KEYS.sign(replace(RESULT, attempt=7)),
    "another request": KEYS.sign(replace(RESULT, request_id="order-0")),
    "another namespace": KEYS.sign(
        replace(RESULT, job=wire.JobRef(namespace="team-b", name="x", uid="uid-b"))
    ),
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
async def test_a_forged_result_is_replaced(
    publisher: OneJobPublisher, store: redis.asyncio.Redis, forged: wire.Result
) -> None:
    await store.set("result:order-1", wire.dumps(forged))

    known = await publisher.previous_result(owner_of(RESULT))
    delivery = await publisher.publish(RESULT)

    assert known is None
    assert (delivery.state, delivery.previous_result) == ("Delivered", None)
    assert delivery.replaced
    assert await store.get("result:order-1") == wire.dumps(RESULT)
    assert await store.xlen("results") == await store.xlen("results:team-a") == 1


async def test_a_forged_value_that_always_comes_back_leaves_the_delivery_pending(
    publisher: OneJobPublisher, store: redis.asyncio.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = publisher._call
    values = iter(range(9))

    async def forge_before(*args: Any) -> Any:
        await store.set("result:order-1", f"forged {next(values)}")
        return await call(*args)

    monkeypatch.setattr(publisher, "_call", forge_before)
    delivery = await publisher.publish(RESULT)
    monkeypatch.undo()

    assert (delivery.state, delivery.reason) == ("Pending", Reason.RESULT_NOT_AUTHENTIC)
    assert await store.xlen("results") == 0
    assert (await publisher.publish(RESULT)).state == "Delivered"


async def test_one_request_id_in_two_namespaces_has_two_results(
    publisher: OneJobPublisher, store: redis.asyncio.Redis
) -> None:
    team_b = wire.JobRef(namespace="team-b", name="sales", uid="uid-b")
    other = KEYS.sign(replace(RESULT, stdout="of team-b", namespace="team-b", job=team_b))
    area = Area.of("team-b", bucket="")

    deliveries = [
        await publisher.publish(RESULT),
        await publisher.publish(other, owner_of(other, area)),
    ]

    assert [d.state for d in deliveries] == ["Delivered", "Delivered"]
    assert await store.get("result:order-1") == wire.dumps(RESULT)
    assert await store.get("result:team-b:order-1") == wire.dumps(other)
    streams: Any = [await store.xrange(f"results:{name}") for name in ("team-a", "team-b")]
    results = [[fields["result"] for _, fields in stream] for stream in streams]
    assert results == [[wire.dumps(RESULT)], [wire.dumps(other)]]
    platform: Any = await store.xrange("results")
    assert [fields["namespace"] for _, fields in platform] == ["team-a", "team-b"]


async def test_keys_expire_and_the_stream_has_a_maximum_length(
    running_server: Server, store: redis.asyncio.Redis
) -> None:
    settings = running_server.settings(result_ttl_seconds=60, stream_max_length=100)

    async with a_publisher(settings) as publisher:
        for number in range(400):
            await publisher.publish(replace(RESULT, request_id=f"r-{number}"))

    assert 50 < await store.ttl("result:r-399") <= 60
    assert await store.xlen("results") < 400
    assert await store.xlen("results:team-a") < 400


async def test_a_wrong_password_leaves_the_delivery_pending(running_server: Server) -> None:
    async with a_publisher(running_server.settings(redis_password="wrong")) as publisher:
        delivery = await publisher.publish(RESULT)
        with pytest.raises(redis.exceptions.AuthenticationError):
            await publisher.check()

    assert delivery.state == "Pending"
    assert "AuthenticationError" in delivery.message


async def test_a_missing_password_leaves_the_delivery_pending(running_server: Server) -> None:
    async with a_publisher(running_server.settings(redis_password="")) as publisher:
        delivery = await publisher.publish(RESULT)

    assert delivery.state == "Pending"
    assert "AuthenticationError" in delivery.message
    assert "Correct the Secret" in delivery.message


@pytest.mark.parametrize("url", ["redis://{}/0", "redis://:old@{}/0", "redis://default:old@{}/0"])
async def test_the_secrets_password_overrides_the_urls(
    running_server: Server, store: redis.asyncio.Redis, url: str
) -> None:
    address = url.format(f"127.0.0.1:{running_server.port}")

    async with a_publisher(running_server.settings(redis_url=address)) as publisher:
        delivery = await publisher.publish(RESULT)

    assert delivery.state == "Delivered"


async def test_a_stopped_redis_leaves_the_delivery_pending_with_the_error(tmp_path: Path) -> None:
    async with a_publisher(Server(tmp_path).settings()) as publisher:
        delivery = await publisher.publish(RESULT)

    assert delivery.state == "Pending"
    assert "onnect" in delivery.message


async def test_a_stopped_redis_does_not_delay_a_job(tmp_path: Path) -> None:
    settings = Server(tmp_path).settings(redis_timeout_seconds=600.0)
    async with a_publisher(settings) as publisher, asyncio.timeout(WAIT_SECONDS):
        await publisher.publish(RESULT)


async def test_a_silent_redis_leaves_the_delivery_pending_after_the_timeout(
    running_server: Server,
) -> None:
    connections: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_server(
        lambda reader, writer: connections.append(writer), "127.0.0.1", 0
    )
    port = silent.sockets[0].getsockname()[1]
    settings = running_server.settings(
        redis_url=f"redis://127.0.0.1:{port}/0", redis_timeout_seconds=0.2
    )

    async with a_publisher(settings) as publisher:
        delivery = await publisher.publish(RESULT)
    silent.close()

    assert delivery.state == "Pending"
    assert "Timeout" in delivery.message
    assert len(connections) == 1, "a timeout is not repeated on a second connection"


async def test_a_restarted_redis_is_used_again(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.start()
    try:
        async with a_publisher(server.settings()) as publisher:
            await publisher.publish(replace(RESULT, request_id="before"))
            server.stop()
            during = await publisher.publish(RESULT)
            server.start()
            after = await publisher.publish(RESULT)
    finally:
        server.stop()

    assert (during.state, after.state) == ("Pending", "Delivered")
    assert after.stream_id is not None


async def test_a_read_only_replica_leaves_the_delivery_pending(
    running_server: Server, store: redis.asyncio.Redis
) -> None:
    await store.replicaof("127.0.0.1", 1)
    try:
        async with a_publisher(running_server.settings()) as publisher:
            delivery = await publisher.publish(RESULT)
    finally:
        await store.replicaof("NO", "ONE")

    assert delivery.state == "Pending"


async def test_a_check_passes_if_redis_answers(publisher: OneJobPublisher) -> None:
    assert await publisher.check() is None  # type: ignore[func-returns-value]  # raises or not
