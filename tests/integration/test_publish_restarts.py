"""Redis restarts, fails over or loses an answer: each result is delivered once."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from nanogrid.reasons import Reason
from nanogrid_operator.decision.outcome import Delivery
from support.redis_delivery import delivered_once, refused
from support.redis_server import (
    PASSWORD,
    RESULT,
    WAIT_SECONDS,
    Network,
    Server,
    a_publisher,
    a_server,
    needs_redis,
    subscribed,
)

pytestmark = [pytest.mark.integration, needs_redis]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with a_server(tmp_path) as server:
        yield server


async def test_restarted_empty_after_a_delivery_gets_the_next_results(server: Server) -> None:
    """A delivered result is not sent again; readers of an empty Redis use S3 or the status."""
    async with a_publisher(server.settings()) as publisher:
        assert (await publisher.publish(RESULT)).state == "Delivered"
        server.stop()
        server.start()
        # The pooled connection is closed; this does not cost a try.
        other = await publisher.publish(replace(RESULT, request_id="order-2"))
    assert other.stream_id is not None


async def test_restarted_empty_before_the_status_is_written_delivers_again(server: Server) -> None:
    async with a_publisher(server.settings()) as publisher:
        await publisher.publish(RESULT)
        server.stop()
        server.start()
        await delivered_once(publisher, server)


async def test_failover_behind_one_address(server: Server, tmp_path: Path) -> None:
    other = Server(tmp_path)
    other.start("--replicaof", f"127.0.0.1 {server.port}", "--masterauth", PASSWORD)
    old, new = server.client(), other.client()
    try:
        async with Network(server.port) as network:
            settings = server.settings(redis_url=f"redis://127.0.0.1:{network.port}/0")
            async with a_publisher(settings) as publisher:
                await publisher.publish(replace(RESULT, request_id="before"))
                # As Sentinel does: promote one, demote the other; its clients stay connected.
                await new.replicaof("NO", "ONE")
                await old.replicaof("127.0.0.1", str(other.port))
                network.target = other.port
                await refused(publisher, Reason.REDIS_READ_ONLY)
                await delivered_once(publisher, other)
    finally:
        await old.aclose()
        await new.aclose()
        other.stop()


async def test_a_lost_answer_is_detected_and_not_delivered_twice(server: Server) -> None:
    store = server.client()
    async with Network(server.port) as network:
        settings = server.settings(
            redis_url=f"redis://127.0.0.1:{network.port}/0", redis_timeout_seconds=1.0
        )
        async with (
            a_publisher(settings) as publisher,
            subscribed(store, "result:order-1") as channel,
        ):
            await publisher.publish(replace(RESULT, request_id="before"))
            network.drop_answers = True
            lost = await publisher.publish(RESULT)
            network.drop_answers = False
            found = await publisher.publish(RESULT)
            messages = [
                await channel.get_message(ignore_subscribe_messages=True, timeout=t)
                for t in (WAIT_SECONDS, 0.1)
            ]
    entries: Any = await store.xrange("results")
    await store.aclose()
    assert lost.state == "Pending"
    assert found == Delivery(state="Delivered", message="delivered by an earlier try")
    assert [m is None for m in messages] == [False, True]
    assert [fields["requestId"] for _, fields in entries] == ["before", "order-1"]
