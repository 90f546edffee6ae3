"""Checks of a publisher: a try that stays pending, and a first delivery."""

from nanogrid.reasons import Reason
from nanogrid_operator.decision.outcome import Delivery
from support.redis_server import (
    RESULT,
    WAIT_SECONDS,
    OneJobPublisher,
    Server,
    subscribed,
)


async def refused(publisher: OneJobPublisher, reason: Reason, *parts: str) -> Delivery:
    """A try that stays pending with this reason and these parts of the message."""
    delivery = await publisher.publish(RESULT)
    assert (delivery.state, delivery.reason) == ("Pending", reason), delivery
    for part in parts:
        assert part in delivery.message
    return delivery


async def delivered_once(publisher: OneJobPublisher, server: Server) -> None:
    """Check that the next try is the first to deliver, and that a further try adds nothing."""
    store = server.client()
    assert await store.get("result:order-1") is None
    assert await store.xlen("results") == await store.xlen("results:team-a") == 0
    async with subscribed(store, "result:order-1") as subscription:
        deliveries = [await publisher.publish(RESULT) for _ in range(2)]
        message = await subscription.get_message(
            ignore_subscribe_messages=True, timeout=WAIT_SECONDS
        )
        another = await subscription.get_message(ignore_subscribe_messages=True, timeout=0.1)
    assert [d.state for d in deliveries] == ["Delivered"] * 2
    assert (deliveries[0].receivers, deliveries[1].receivers) == (1, None)
    assert message is not None
    assert another is None
    assert await store.xlen("results") == await store.xlen("results:team-a") == 1
    await store.aclose()
