"""One leader at a time, independent of any wall clock. A process that loses the Lease ends."""

import asyncio
from typing import Any

import pytest

from nanogrid.types import Json
from nanogrid_operator.kube.leader_election import LeaderElector, LeaseLost, may_take, observe
from support.fake_time import now
from support.operator_fakes import FakeKube
from support.operator_world import run_for

LEASES = "/apis/coordination.k8s.io/v1/namespaces/platform/leases"


def an_elector(kube: FakeKube, identity: str = "a") -> LeaderElector:
    return LeaderElector(kube, "platform", "nanogrid", identity, now)


def spec(kube: FakeKube) -> dict[str, Any]:
    return dict(kube.objects[f"{LEASES}/nanogrid"]["spec"])


async def acquired(kube: FakeKube) -> LeaderElector:
    elector = an_elector(kube)
    await elector.acquire()
    return elector


async def within(seconds: float, elector: LeaderElector) -> bool:
    """Whether an elector acquires the Lease within this many seconds."""
    try:
        async with asyncio.timeout(seconds):
            await elector.acquire()
    except TimeoutError:
        return False
    return True


async def test_the_first_process_creates_and_takes_the_lease() -> None:
    kube = FakeKube()

    await an_elector(kube).acquire()

    assert (spec(kube)["holderIdentity"], spec(kube)["leaseDurationSeconds"]) == ("a", 6)
    assert spec(kube)["leaseTransitions"] == 1


async def test_a_second_process_stands_by_while_the_first_renews() -> None:
    kube = FakeKube()
    first = await acquired(kube)
    renewing = asyncio.create_task(first.renew())

    taken = await within(200, an_elector(kube, "b"))

    renewing.cancel()
    assert not taken
    assert spec(kube)["holderIdentity"] == "a"


async def test_another_process_takes_over_after_the_leases_duration_and_not_before() -> None:
    kube = FakeKube()
    await acquired(kube)
    began = now()

    await an_elector(kube, "b").acquire()

    assert 6 <= now() - began <= 8
    assert (spec(kube)["holderIdentity"], spec(kube)["leaseTransitions"]) == ("b", 2)


async def test_a_released_lease_is_taken_within_two_seconds() -> None:
    kube = FakeKube()
    first = await acquired(kube)
    await first.release()
    began = now()

    await an_elector(kube, "b").acquire()

    assert now() - began <= 2


async def test_a_restarted_leader_continues_at_once() -> None:
    kube = FakeKube()
    await acquired(kube)
    began = now()

    await an_elector(kube).acquire()

    assert now() == began
    assert spec(kube)["leaseTransitions"] == 1


async def test_a_leader_ends_when_another_process_has_the_lease() -> None:
    kube = FakeKube()
    first = await acquired(kube)
    kube.objects[f"{LEASES}/nanogrid"]["spec"]["holderIdentity"] = "b"
    kube.touch(LEASES, "nanogrid")

    with pytest.raises(LeaseLost, match="b holds Lease nanogrid"):
        await first.renew()


async def test_an_annotation_on_the_lease_does_not_lose_it() -> None:
    kube = FakeKube()
    first = await acquired(kube)
    before = spec(kube)["renewTime"]
    kube.touch(LEASES, "nanogrid")

    await run_for(6, first.renew())

    assert spec(kube)["renewTime"] > before


async def test_a_long_outage_of_the_api_server_does_not_lose_the_lease() -> None:
    kube = FakeKube()
    first = await acquired(kube)
    for code in (0, 500, 503) * 20:
        kube.refuse("PATCH", code)

    await run_for(61 * 2, first.renew())

    assert kube.refusals["PATCH"] == []
    assert spec(kube)["holderIdentity"] == "a"


async def test_a_deleted_lease_is_lost() -> None:
    kube = FakeKube()
    first = await acquired(kube)
    del kube.objects[f"{LEASES}/nanogrid"]

    with pytest.raises(LeaseLost, match="no process holds Lease nanogrid"):
        await first.renew()


async def test_two_processes_that_take_a_free_lease_at_once_do_not_both_hold_it() -> None:
    class Simultaneous(FakeKube):
        """Both processes read the Lease before either of them writes it."""

        reads = 0

        async def get(self, path: str, name: str) -> Json:
            answer = await super().get(path, name)
            self.reads += 1
            while self.reads < 2:  # noqa: ASYNC110 it waits for the other process
                await asyncio.sleep(0)
            return answer

    kube = Simultaneous()
    kube.put(LEASES, {"metadata": {"name": "nanogrid", "resourceVersion": "1"}, "spec": {}})
    tasks = [asyncio.create_task(an_elector(kube, name).acquire()) for name in "ab"]

    done, waiting = await asyncio.wait(tasks, timeout=1)

    assert (len(done), len(waiting)) == (1, 1)
    waiting.pop().cancel()


async def test_a_lease_that_cannot_be_released_expires() -> None:
    kube = FakeKube()
    first = await acquired(kube)
    kube.refuse("PATCH", 500)

    await first.release()

    assert spec(kube)["holderIdentity"] == "a"


def test_the_clocks_of_other_machines_do_not_count() -> None:
    lease: Json = {"spec": {"holderIdentity": "b", "renewTime": "1999-01-01T00:00:00Z"}}
    observed = observe(lease, None, 5.0)
    again = observe(lease, observed, 10.0)

    assert again.since == 5.0
    assert not may_take(lease, again, "a", 10.9)
    assert may_take(lease, again, "a", 11.0)
