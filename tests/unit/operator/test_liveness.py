"""A dead watch, LISTs that fail and a worker that hangs are reasons to restart."""

import asyncio
import copy

from nanogrid_operator.server.health import Health
from nanogrid_operator.watch.liveness import STALL_SECONDS, WATCH_LAG_SECONDS, Liveness
from nanogrid_operator.workqueue import WorkQueue
from support.builders import JOB_UID, a_pod_body, running
from support.fake_time import now
from support.operator_fakes import JOBS, PODS
from support.operator_world import World


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def liveness() -> tuple[Liveness, Clock]:
    clock = Clock()
    return Liveness(WorkQueue(), 300, clock), clock


def test_an_idle_operator_has_no_trouble() -> None:
    found, clock = liveness()
    found.resynced()
    clock.now += 900

    assert found.problem() == ""


def test_a_watch_that_does_not_bring_what_a_list_has_shown_is_dead() -> None:
    found, clock = liveness()
    found.expect("pods", 120)
    clock.now += WATCH_LAG_SECONDS - 1
    early = found.problem()
    found.seen("pods", 119)
    found.seen("executionjobs", 500)
    clock.now += 2

    assert early == ""
    assert "watch of pods has not brought resourceVersion 120" in found.problem()


def test_a_watch_may_lag_a_little() -> None:
    found, clock = liveness()
    found.expect("pods", 120)
    found.seen("pods", 121)
    clock.now += 3600

    assert found.problem() == ""


def test_lists_that_fail_for_long_are_trouble() -> None:
    found, clock = liveness()
    found.resynced()
    clock.now += 1000

    assert "no LIST has succeeded for 1000 s" in found.problem()


def test_before_the_first_list_there_is_no_trouble() -> None:
    found, clock = liveness()
    clock.now += 10_000

    assert found.problem() == ""


async def test_a_key_that_no_worker_takes_or_that_hangs_is_trouble() -> None:
    queue = WorkQueue()
    found = Liveness(queue, 300, now)
    queue.add("a")
    await asyncio.sleep(STALL_SECONDS + 1)
    waiting = found.problem()
    await queue.get()
    taken = found.problem()
    await asyncio.sleep(STALL_SECONDS + 1)
    hanging = found.problem()
    queue.done("a")

    assert "job uid=a" in waiting
    assert taken == ""
    assert "job uid=a" in hanging
    assert found.problem() == ""


async def test_a_delayed_key_is_no_trouble() -> None:
    queue = WorkQueue()
    queue.add("a", 1000)

    assert queue.stalled() == ("", 0.0)


async def test_a_long_queue_that_moves_is_no_trouble() -> None:
    queue = WorkQueue()
    for key in "abc":
        queue.add(key)
    await asyncio.sleep(STALL_SECONDS + 1)
    queue.done(await queue.get())

    assert Liveness(queue, 300, now).problem() == ""


def test_the_probe_shows_the_trouble() -> None:
    assert Health({}, lambda: "the watch is dead").stuck() == "the watch is dead"


# A LIST expects the watch to bring what it shows.


async def test_a_list_expects_the_watch_to_bring_new_versions() -> None:
    world = World()
    await world.resync()
    quiet = world.parts.liveness.problem()
    world.kube.put(PODS, a_pod_body(phase="Running", agent=running(), sandbox=running()))
    await world.resync()
    world.now += 100

    assert quiet == ""
    assert "watch of pods" in world.parts.liveness.problem()


async def test_the_operators_own_writes_are_not_expected() -> None:
    world = World()
    await world.resync()
    await world.reconcile()
    await world.resync()
    world.now += 100

    assert world.cache.pod(JOB_UID, 0) is not None
    assert world.parts.liveness.problem() == ""


async def test_a_changed_job_is_expected_until_the_watch_brings_it() -> None:
    world = World()
    await world.resync()
    world.kube.touch(JOBS, "sales")
    await world.resync()
    world.now += 100
    missing = world.parts.liveness.problem()
    body = copy.deepcopy(world.kube.objects[f"{JOBS}/sales"])
    world.parts.liveness.seen("executionjobs", int(body["metadata"]["resourceVersion"]))

    assert "executionjobs" in missing
    assert world.parts.liveness.problem() == ""
