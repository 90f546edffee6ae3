"""Which deliveries count for the objective, and that both places that deliver agree."""

import pytest

from nanogrid import wire
from nanogrid.types import Json
from nanogrid_operator.decision.objective import counts_for_objective
from nanogrid_operator.decision.outcome import Delivery
from support.builders import a_failed_result, a_job, a_report, a_result, running
from support.operator_world import World

DELIVERED = Delivery(state="Delivered")
SESSION: Json = {"mode": "Session", "code": None}


@pytest.mark.parametrize(
    ("job", "result", "delivery", "counts"),
    [
        ({}, a_result(), DELIVERED, True),
        ({}, a_failed_result(3), DELIVERED, True),
        ({}, a_failed_result(None), DELIVERED, False),
        (SESSION, a_result(), DELIVERED, False),
        ({}, a_result(), Delivery(state="Pending"), False),
        ({}, a_result(), Delivery(state="Rejected"), False),
        ({}, a_result(), Delivery(state="Delivered", previous_result=a_result()), False),
    ],
    ids=["success", "failure", "no code ran", "session", "pending", "rejected", "earlier try"],
)
def test_which_deliveries_count(
    job: Json, result: wire.Result, delivery: Delivery, counts: bool
) -> None:
    assert counts_for_objective(a_job(**job), result, delivery) is counts


@pytest.mark.parametrize("late", [False, True], ids=["at once", "after an outage of Redis"])
@pytest.mark.parametrize(
    ("job", "result", "count"),
    [
        ({}, a_result(), 1),
        ({}, a_failed_result(None), 0),
        (SESSION, a_result(), 0),
    ],
    ids=["code that ended", "no code ran", "session"],
)
async def test_a_delivery_counts_alike_at_once_and_later(
    job: Json, result: wire.Result, count: int, late: bool
) -> None:
    world = World(**job)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.push(a_report(result))
    world.redis.up = not late
    await world.reconcile()
    before = world.end[2]
    world.redis.up = True
    await world.reconcile()  # removes the pod that still runs
    await world.reconcile()

    assert (before, world.end[2]) == ("Pending" if late else "Delivered", "Delivered")
    assert world.measured("job_delivery_seconds_count") == count
