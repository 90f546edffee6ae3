"""One leader at a time, independent of any wall clock. A process that loses the Lease ends."""

import asyncio
from typing import Any

import pytest

from nanogrid.kube.conventions import KubeError
from nanogrid.types import Json
from nanogrid_operator.kube.leader_address import LeaderAddress
from nanogrid_operator.kube.leader_election import LeaderElector, LeaseLost
from nanogrid_operator.kube.lease import DURATION_SECONDS, identity_of
from support.fake_time import now
from support.operator_fakes import FakeKube
from support.operator_world import run_for

PODS = "/api/v1/namespaces/platform/pods"
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

    assert (spec(kube)["holderIdentity"], spec(kube)["leaseDurationSeconds"]) == ("a", 2)
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

    assert DURATION_SECONDS <= now() - began <= 3
    assert (spec(kube)["holderIdentity"], spec(kube)["leaseTransitions"]) == ("b", 2)


async def test_a_standby_takes_over_within_three_seconds_of_the_last_renewal() -> None:
    """It knows the record already, and the leader dies at any time between two renewals."""
    for life in (0.0, 0.3, 0.5, 1.1, 1.7):
        kube = FakeKube()
        first = await acquired(kube)
        renewing = asyncio.create_task(first.renew())
        standing_by = asyncio.create_task(an_elector(kube, "b").acquire())
        await asyncio.sleep(5 + life)

        renewing.cancel()
        died = now()
        await standing_by

        assert 1.0 <= now() - died <= 3.0
        assert spec(kube)["holderIdentity"] == "b"


async def test_the_duration_of_an_older_leader_is_respected() -> None:
    kube = FakeKube()
    await acquired(kube)
    kube.objects[f"{LEASES}/nanogrid"]["spec"]["leaseDurationSeconds"] = 6
    began = now()

    await an_elector(kube, "b").acquire()

    assert 6 <= now() - began <= 7


async def test_a_released_lease_is_taken_at_once() -> None:
    kube = FakeKube()
    first = await acquired(kube)
    standing_by = asyncio.create_task(an_elector(kube, "b").acquire())
    await asyncio.sleep(0.1)
    await first.release()
    began = now()

    await standing_by

    assert now() - began <= 0.5


@pytest.mark.parametrize("lost", ["answer", "annotated"])
async def test_a_lease_that_changed_before_its_release_is_released(lost: str) -> None:
    """The answer to the last renewal was lost, or somebody has annotated the Lease."""
    kube = FakeKube()
    first = await acquired(kube)
    if lost == "answer":
        kube.objects[f"{LEASES}/nanogrid"]["spec"]["renewTime"] = "2026-01-01T00:00:00.000000Z"
    kube.touch(LEASES, "nanogrid")

    await first.release()

    assert spec(kube)["holderIdentity"] == ""


async def test_the_lease_of_another_process_is_not_released() -> None:
    kube = FakeKube()
    first = await acquired(kube)
    await an_elector(kube, "b").acquire()

    await first.release()

    assert spec(kube)["holderIdentity"] == "b"


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
    await first.release()  # as at the end of the process

    assert spec(kube)["holderIdentity"] == "b"


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


async def test_a_process_that_hangs_does_not_renew() -> None:
    kube, alive = FakeKube(), True
    first = LeaderElector(kube, "platform", "nanogrid", "a", now, may_renew=lambda: alive)
    await first.acquire()
    renewing = asyncio.create_task(first.renew())
    assert not await within(30, an_elector(kube, "b"))

    alive = False

    assert await within(30, an_elector(kube, "b"))
    renewing.cancel()


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


HOLDER = identity_of("nanogrid-1", "uid-1")
RUNNING: Json = {"state": {"running": {}}}
CRASHED: Json = {"state": {"waiting": {}}, "lastState": {"terminated": {"exitCode": 137}}}


def put_pod(kube: FakeKube, container: Json = RUNNING, uid: str = "uid-1") -> None:
    """The pod of the holder."""
    meta = {"name": "nanogrid-1", "uid": uid}
    kube.put(PODS, {"metadata": meta, "status": {"containerStatuses": [container]}})


async def taken_after(kube: FakeKube) -> float:
    """When another process has the Lease that the pod has acquired; it renews no more."""
    await an_elector(kube, HOLDER).acquire()
    began = now()
    await an_elector(kube, "b").acquire()
    assert spec(kube)["holderIdentity"] == "b"
    return now() - began


async def test_a_pod_that_is_gone_holds_nothing() -> None:
    """So a single replica that was deleted by force does not wait for the Lease."""
    assert await taken_after(FakeKube()) == 0


async def test_another_pod_of_the_same_name_is_not_the_holder() -> None:
    kube = FakeKube()
    put_pod(kube, uid="uid-2")

    assert await taken_after(kube) == 0


async def test_a_holder_whose_container_has_ended_is_replaced_before_the_duration_is_over() -> None:
    kube = FakeKube()
    put_pod(kube, CRASHED)

    assert 1.0 <= await taken_after(kube) < DURATION_SECONDS


async def test_a_holder_whose_pod_runs_has_the_whole_duration() -> None:
    kube = FakeKube()
    put_pod(kube)

    assert DURATION_SECONDS <= await taken_after(kube) <= 3


@pytest.mark.parametrize("code", [0, 403, 500])
async def test_without_an_answer_about_the_pod_the_duration_decides(code: int) -> None:
    class NoPods(FakeKube):
        async def get(self, path: str, name: str) -> Json:
            if path == PODS:
                raise KubeError(code, "", "no answer")
            return await super().get(path, name)

    assert DURATION_SECONDS <= await taken_after(NoPods()) <= 3


@pytest.mark.parametrize("seconds", [0.3, 1.0, 1.9, 600.0])
async def test_a_slow_answer_about_the_pod_does_not_delay_the_take_over(seconds: float) -> None:
    class SlowPods(FakeKube):
        async def get(self, path: str, name: str) -> Json:
            if path == PODS:
                await asyncio.sleep(seconds)
            return await super().get(path, name)

    kube = SlowPods()
    put_pod(kube)

    assert DURATION_SECONDS <= await taken_after(kube) <= 3


async def test_a_container_that_started_again_keeps_the_lease_while_its_status_is_late() -> None:
    kube = FakeKube()
    put_pod(kube, CRASHED)
    holder = an_elector(kube, HOLDER)
    await holder.acquire()
    renewing = asyncio.create_task(holder.renew())

    assert not await within(60, an_elector(kube, "b"))
    renewing.cancel()


async def test_a_holder_outside_a_pod_is_not_looked_for() -> None:
    kube = FakeKube()
    await acquired(kube)  # there is no pod named a

    assert not await within(1, an_elector(kube, "b"))


async def test_time_in_which_the_api_server_did_not_answer_is_not_held_against_the_leader() -> None:
    """Leader and standby get no answers for ten seconds. Then the standby gets the first one."""

    class Silent(FakeKube):
        async def get(self, path: str, name: str) -> Json:
            if began + 1 < now() < began + 11:
                raise KubeError(0, "TimeoutError", "no answer")
            return await super().get(path, name)

    kube, began = Silent(), now()
    await acquired(kube)

    assert not await within(11.2, an_elector(kube, "b"))
    assert await within(60, an_elector(kube, "b")), "but a dead leader is replaced"


async def test_a_renewal_that_hangs_is_given_up_and_tried_again_soon() -> None:
    class HangsOnce(FakeKube):
        hangs = 0

        async def patch(self, path: str, name: str, body: Json) -> Json:
            if self.hangs:
                self.hangs -= 1
                await asyncio.sleep(600)
            return await super().patch(path, name, body)

    kube = HangsOnce()
    first = await acquired(kube)
    kube.hangs = 1
    before = spec(kube)["renewTime"]

    await run_for(3, first.renew())

    assert spec(kube)["renewTime"] > before


async def test_a_standby_notices_that_the_pod_of_a_leader_that_renews_is_gone() -> None:
    """A pod that is deleted by force renews until its node has stopped it.

    The pod that replaces it needs more than a second to start. The standby has listed already.
    """
    kube = FakeKube()
    put_pod(kube)
    first = an_elector(kube, HOLDER)
    await first.acquire()
    renewing = asyncio.create_task(first.renew())
    standing_by = asyncio.create_task(an_elector(kube, "b").acquire())
    await asyncio.sleep(5)
    assert not standing_by.done()

    del kube.objects[f"{PODS}/nanogrid-1"]
    deleted = now()
    await standing_by

    assert now() - deleted <= 0.8
    with pytest.raises(LeaseLost):
        await renewing


ADDRESS = LeaderAddress("10.0.0.7", 8080)


def put_leader(kube: FakeKube, uid: str = "uid-1", container: Json = RUNNING) -> None:
    """The pod of the holder, with an address."""
    put_pod(kube, container, uid)
    pod = kube.objects[f"{PODS}/nanogrid-1"]
    pod["status"]["podIP"] = ADDRESS.host
    ports = [{"name": "http", "containerPort": ADDRESS.port}]
    pod["spec"] = {"containers": [{"name": "operator", "ports": ports}]}


async def leader_and_standby(kube: FakeKube) -> tuple[LeaderElector, LeaderElector]:
    """One in a pod that has an address leads, the other one has seen it."""
    put_leader(kube)
    leader, standby = an_elector(kube, HOLDER), an_elector(kube, "b")
    await leader.acquire()
    assert not await standby.try_acquire()
    return leader, standby


async def test_a_standby_knows_where_its_leader_takes_reports() -> None:
    kube = FakeKube()
    leader, standby = await leader_and_standby(kube)

    assert standby.leader_address() == ADDRESS
    assert leader.leader_address() is None, "it leads"


async def test_a_leader_that_gets_an_address_later_is_found() -> None:
    kube = FakeKube()
    put_pod(kube)
    leader = an_elector(kube, HOLDER)
    await leader.acquire()
    renewing = asyncio.create_task(leader.renew())
    standby = an_elector(kube, "b")
    assert not await within(1, standby)
    assert standby.leader_address() is None

    put_leader(kube)
    assert not await within(1, standby)

    assert standby.leader_address() == ADDRESS
    renewing.cancel()


async def test_an_address_counts_as_long_as_a_lease_lasts_without_an_answer() -> None:
    """Later another pod may have it. After the outage it counts again, if the pod has it still."""
    kube = FakeKube()
    _, standby = await leader_and_standby(kube)

    await asyncio.sleep(DURATION_SECONDS - 0.1)
    before = standby.leader_address()
    await asyncio.sleep(0.2)
    after = standby.leader_address()
    assert not await standby.try_acquire()

    assert (before, after, standby.leader_address()) == (ADDRESS, None, ADDRESS)


async def test_renewals_keep_the_address_for_ever() -> None:
    kube = FakeKube()
    leader, standby = await leader_and_standby(kube)
    renewing = asyncio.create_task(leader.renew())
    standing_by = asyncio.create_task(standby.acquire())

    for _ in range(200):
        await asyncio.sleep(0.3)
        assert standby.leader_address() == ADDRESS
    renewing.cancel()
    standing_by.cancel()


@pytest.mark.parametrize("change", ["taken over", "released", "gone", "ended", "another pod"])
async def test_no_address_outlives_its_leader(change: str) -> None:
    kube = FakeKube()
    leader, standby = await leader_and_standby(kube)
    assert standby.leader_address() == ADDRESS

    await asyncio.sleep(1.0)
    if change == "taken over":
        await an_elector(kube, "c").acquire()
    if change == "released":
        await leader.release()
    if change == "gone":
        del kube.objects[f"{PODS}/nanogrid-1"]
    if change == "ended":
        put_leader(kube, container=CRASHED)
    if change == "another pod":
        put_leader(kube, uid="uid-2")
    if change != "taken over":
        kube.refuse("PATCH", 500)  # its own take-over fails once
    assert not await standby.try_acquire()

    assert standby.leader_address() is None


async def test_who_takes_over_never_names_the_last_leader() -> None:
    kube = FakeKube()
    leader, standby = await leader_and_standby(kube)
    assert standby.leader_address() == ADDRESS
    await leader.release()

    assert await standby.try_acquire()
    assert standby.leader_address() is None
    await standby.release()
    assert standby.leader_address() is None
