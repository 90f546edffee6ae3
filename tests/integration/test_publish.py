"""Delivery against a real Redis: once per request, to key, stream and subscribers alike."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis.asyncio
import redis.exceptions

from integration.redis_server import RESULT, Server, a_publisher, needs_redis, subscribed
from nanogrid import wire
from nanogrid_operator.outcome import Delivery
from nanogrid_operator.publish import Publisher

pytestmark = [pytest.mark.integration, needs_redis]


@pytest.fixture(scope="module")
def running_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def store(running_server: Server) -> AsyncIterator[redis.asyncio.Redis]:
    """A client of an empty server."""
    client = running_server.client()
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
async def publisher(running_server: Server) -> AsyncIterator[Publisher]:
    async with a_publisher(running_server.settings()) as publisher:
        yield publisher


async def test_key_stream_and_subscriber_get_the_same_bytes(
    publisher: Publisher, store: redis.asyncio.Redis
) -> None:
    async with subscribed(store, "result:order-1") as subscription:
        delivery = await publisher.publish(RESULT)
        message = await subscription.get_message(ignore_subscribe_messages=True, timeout=5)

    text = wire.dumps(RESULT)
    entries: Any = await store.xrange("results")
    ((entry, fields),) = entries
    assert message is not None
    assert message["data"] == text
    assert await store.get("result:order-1") == text
    assert fields == {"requestId": "order-1", "status": "SUCCESS", "result": text}
    assert delivery == Delivery(state="Delivered", receivers=1, stream_id=entry)


async def test_a_reader_that_comes_late_finds_the_result(
    publisher: Publisher, store: redis.asyncio.Redis
) -> None:
    delivery = await publisher.publish(RESULT)

    kept = await store.get("result:order-1")
    assert json.loads(str(kept))["stdout"] == "합계 157,685,452원\n"
    assert delivery.receivers == 0


@pytest.mark.parametrize("status", ["FAILED", "TIMEOUT"])
async def test_failures_are_delivered_like_successes(
    publisher: Publisher, store: redis.asyncio.Redis, status: str
) -> None:
    result = replace(RESULT, status=status, exit_code=None)

    delivery = await publisher.publish(result)

    assert delivery.state == "Delivered"
    assert await store.get("result:order-1") == wire.dumps(result)


async def test_a_result_is_delivered_once_however_often_it_is_tried(
    publisher: Publisher, store: redis.asyncio.Redis
) -> None:
    async with subscribed(store, "result:order-1") as subscription:
        first, *others = [await publisher.publish(RESULT) for _ in range(3)]
        await subscription.get_message(ignore_subscribe_messages=True, timeout=5)
        second = await subscription.get_message(ignore_subscribe_messages=True, timeout=0.1)

    assert first.receivers == 1
    assert [(d.state, d.message) for d in others] == [
        ("Delivered", "delivered by an earlier try")
    ] * 2
    assert second is None
    assert await store.xlen("results") == 1


async def test_many_tries_at_once_deliver_once(
    running_server: Server, store: redis.asyncio.Redis
) -> None:
    patient = replace(running_server.settings(), redis_timeout_seconds=30.0)
    async with a_publisher(patient) as publisher:
        deliveries = await asyncio.gather(*(publisher.publish(RESULT) for _ in range(20)))

    assert {d.state for d in deliveries} == {"Delivered"}
    assert len([d for d in deliveries if d.stream_id]) == 1
    assert await store.xlen("results") == 1


async def test_a_corrected_result_does_not_replace_the_one_that_was_told(
    publisher: Publisher, store: redis.asyncio.Redis
) -> None:
    await publisher.publish(RESULT)

    await publisher.publish(replace(RESULT, status="FAILED"))

    assert await store.get("result:order-1") == wire.dumps(RESULT)


async def test_a_request_id_of_another_job_is_a_conflict_that_names_it(
    publisher: Publisher, store: redis.asyncio.Redis
) -> None:
    await publisher.publish(RESULT)
    other = replace(RESULT, job=replace(RESULT.job, uid="uid-2"))

    delivery = await publisher.publish(other)

    assert delivery == Delivery(
        state="Conflict", message="result:order-1 holds the result of job uid uid-1"
    )
    assert await store.get("result:order-1") == wire.dumps(RESULT)


@pytest.mark.parametrize("junk", ["", "no json", "[]", '{"job": null}', '{"job": {}}'])
async def test_a_key_that_holds_something_else_is_a_conflict(
    publisher: Publisher, store: redis.asyncio.Redis, junk: str
) -> None:
    await store.set("result:order-1", junk)

    delivery = await publisher.publish(RESULT)

    assert delivery.state == "Conflict"
    assert await store.get("result:order-1") == junk


async def test_keys_expire_and_the_stream_is_bounded(
    running_server: Server, store: redis.asyncio.Redis
) -> None:
    settings = running_server.settings(result_ttl_seconds=60, stream_max_length=100)

    async with a_publisher(settings) as publisher:
        for number in range(400):
            await publisher.publish(replace(RESULT, request_id=f"r-{number}"))

    assert 50 < await store.ttl("result:r-399") <= 60
    assert await store.xlen("results") < 400


async def test_a_wrong_password_is_a_pending_delivery(running_server: Server) -> None:
    async with a_publisher(running_server.settings(redis_password="wrong")) as publisher:
        delivery = await publisher.publish(RESULT)
        with pytest.raises(redis.exceptions.AuthenticationError):
            await publisher.check()

    assert delivery.state == "Pending"
    assert "AuthenticationError" in delivery.message


async def test_a_password_that_is_missing_is_a_pending_delivery(running_server: Server) -> None:
    async with a_publisher(running_server.settings(redis_password="")) as publisher:
        delivery = await publisher.publish(RESULT)

    assert delivery.state == "Pending"
    assert "AuthenticationError" in delivery.message
    assert "Correct the Secret" in delivery.message


@pytest.mark.parametrize("url", ["redis://{}/0", "redis://:old@{}/0", "redis://default:old@{}/0"])
async def test_the_password_of_the_secret_wins_over_the_urls(
    running_server: Server, store: redis.asyncio.Redis, url: str
) -> None:
    address = url.format(f"127.0.0.1:{running_server.port}")

    async with a_publisher(running_server.settings(redis_url=address)) as publisher:
        delivery = await publisher.publish(RESULT)

    assert delivery.state == "Delivered"


async def test_a_redis_that_is_down_is_a_pending_delivery_with_the_error(tmp_path: Path) -> None:
    async with a_publisher(Server(tmp_path).settings()) as publisher:
        delivery = await publisher.publish(RESULT)

    assert delivery.state == "Pending"
    assert "onnect" in delivery.message


async def test_a_redis_that_is_down_does_not_hold_a_job_back(tmp_path: Path) -> None:
    async with a_publisher(Server(tmp_path).settings(redis_timeout_seconds=2.0)) as publisher:
        started = time.monotonic()
        await publisher.publish(RESULT)

    assert time.monotonic() - started < 1.0


async def test_a_redis_that_does_not_answer_is_a_pending_delivery_in_good_time(
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
        started = time.monotonic()
        delivery = await publisher.publish(RESULT)
    silent.close()

    assert delivery.state == "Pending"
    assert "Timeout" in delivery.message
    assert time.monotonic() - started < 1.0
    assert len(connections) == 1, "a silence is not waited for twice"


async def test_a_redis_that_comes_back_is_used_again(tmp_path: Path) -> None:
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


async def test_a_read_only_replica_is_a_pending_delivery(
    running_server: Server, store: redis.asyncio.Redis
) -> None:
    await store.replicaof("127.0.0.1", 1)
    try:
        async with a_publisher(running_server.settings()) as publisher:
            delivery = await publisher.publish(RESULT)
    finally:
        await store.replicaof("NO", "ONE")

    assert delivery.state == "Pending"


async def test_a_check_says_whether_redis_answers(publisher: Publisher) -> None:
    assert await publisher.check() is None  # type: ignore[func-returns-value]  # raises or not
