"""One holder at a time, by nobody's wall clock; who loses the lease ends."""

import asyncio
import contextlib
from typing import Any

import pytest

from nanogrid_operator import lease as lease_module
from nanogrid_operator.kube import KubeError
from nanogrid_operator.lease import Lease, LeaseLost, may_take, observe
from unit.builders import Json
from unit.fakes import FakeKube

LEASES = "/apis/coordination.k8s.io/v1/namespaces/platform/leases"


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


CLOCK = Clock()


@pytest.fixture(autouse=True)
def time_flies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each sleep takes its seconds of the fake clock, and none of ours."""
    CLOCK.now = 1000.0
    real = asyncio.sleep

    async def sleep(seconds: float) -> None:
        CLOCK.now += seconds
        await real(0)

    monkeypatch.setattr(lease_module.asyncio, "sleep", sleep)


def a_lease(kube: FakeKube, identity: str = "a") -> Lease:
    return Lease(kube, "platform", "nanogrid", identity, CLOCK)


def spec(kube: FakeKube) -> dict[str, Any]:
    return dict(kube.objects[f"{LEASES}/nanogrid"]["spec"])


async def within(seconds: float, lease: Lease) -> bool:
    """Whether a lease is acquired in so many seconds of the fake clock."""
    end = CLOCK.now + seconds
    task = asyncio.create_task(lease.acquire())
    while not task.done() and CLOCK.now < end:
        await asyncio.tasks.sleep(0)
    acquired = task.done()
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    return acquired


async def test_the_first_one_makes_and_takes_it() -> None:
    kube = FakeKube()

    await a_lease(kube).acquire()

    assert (spec(kube)["holderIdentity"], spec(kube)["leaseDurationSeconds"]) == ("a", 6)
    assert spec(kube)["leaseTransitions"] == 1


async def test_a_second_one_stands_by_while_the_first_renews() -> None:
    kube = FakeKube()
    first, second = a_lease(kube), a_lease(kube, "b")
    await first.acquire()
    holding = asyncio.create_task(first.hold())

    taken = await within(200, second)

    holding.cancel()
    assert not taken
    assert spec(kube)["holderIdentity"] == "a"


async def test_a_silent_holder_is_followed_after_the_leases_duration_and_not_before() -> None:
    kube = FakeKube()
    await a_lease(kube).acquire()
    began = CLOCK.now

    await a_lease(kube, "b").acquire()

    assert 6 <= CLOCK.now - began <= 8
    assert (spec(kube)["holderIdentity"], spec(kube)["leaseTransitions"]) == ("b", 2)


async def test_a_released_lease_is_taken_within_two_seconds() -> None:
    kube = FakeKube()
    first = a_lease(kube)
    await first.acquire()
    await first.release()
    began = CLOCK.now

    await a_lease(kube, "b").acquire()

    assert CLOCK.now - began <= 2


async def test_a_restarted_holder_goes_on_at_once() -> None:
    kube = FakeKube()
    await a_lease(kube).acquire()
    began = CLOCK.now

    await a_lease(kube).acquire()

    assert CLOCK.now == began
    assert spec(kube)["leaseTransitions"] == 1


async def test_a_holder_that_was_followed_ends() -> None:
    kube = FakeKube()
    first = a_lease(kube)
    await first.acquire()
    kube.objects[f"{LEASES}/nanogrid"]["spec"]["holderIdentity"] = "b"
    kube.touch(LEASES, "nanogrid")

    with pytest.raises(LeaseLost, match="held by b"):
        await first.hold()


async def test_a_lease_that_somebody_annotates_is_not_lost() -> None:
    kube = FakeKube()
    first = a_lease(kube)
    await first.acquire()
    before = spec(kube)["renewTime"]
    kube.touch(LEASES, "nanogrid")

    await first._renew()
    await first._renew()

    assert spec(kube)["renewTime"] > before


async def test_an_api_server_that_is_away_for_long_loses_nothing() -> None:
    kube = FakeKube()
    first = a_lease(kube)
    await first.acquire()
    for code in (0, 500, 503) * 20:
        kube.refuse("PATCH", code)

    for _ in range(61):
        await first._renew()

    assert kube.refusals["PATCH"] == []
    assert spec(kube)["holderIdentity"] == "a"


async def test_a_lease_that_somebody_deletes_is_lost() -> None:
    kube = FakeKube()
    first = a_lease(kube)
    await first.acquire()
    del kube.objects[f"{LEASES}/nanogrid"]

    with pytest.raises(LeaseLost, match="held by nobody"):
        await first.hold()


async def test_two_that_take_a_free_lease_at_once_are_not_both_holders() -> None:
    kube = FakeKube()
    kube.put(LEASES, {"metadata": {"name": "nanogrid", "resourceVersion": "1"}, "spec": {}})
    leases = [a_lease(kube, name) for name in "ab"]
    free = await kube.get(LEASES, "nanogrid")

    await leases[0]._write(free, leases[0]._record(free))
    with pytest.raises(KubeError) as error:
        await leases[1]._write(free, leases[1]._record(free))

    assert error.value.code == 409


async def test_what_cannot_be_released_runs_out() -> None:
    kube = FakeKube()
    first = a_lease(kube)
    await first.acquire()
    kube.refuse("PATCH", 500)

    await first.release()

    assert spec(kube)["holderIdentity"] == "a"


def test_other_machines_clocks_do_not_count() -> None:
    lease: Json = {"spec": {"holderIdentity": "b", "renewTime": "1999-01-01T00:00:00Z"}}
    seen = observe(lease, None, 5.0)
    again = observe(lease, seen, 10.0)

    assert again.since == 5.0
    assert not may_take(lease, again, "a", 10.9)
    assert may_take(lease, again, "a", 11.0)
