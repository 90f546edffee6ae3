"""A dead watch, a LIST that never ends and a worker that hangs are all reasons to start anew."""

import asyncio
import copy

from nanogrid_operator.health import Health
from nanogrid_operator.liveness import STALL_SECONDS, WATCH_LAG_SECONDS, Liveness
from nanogrid_operator.workqueue import WorkQueue
from unit.builders import JOB_UID, a_pod_body, running
from unit.fakes import JOBS, PODS, World


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def liveness() -> tuple[Liveness, Clock]:
    clock = Clock()
    return Liveness(WorkQueue(), 300, clock), clock


def test_an_operator_with_nothing_to_do_is_well() -> None:
    found, clock = liveness()
    found.resynced()
    clock.now += 900

    assert found.trouble() == ""


def test_a_watch_that_does_not_bring_what_a_list_showed_is_dead() -> None:
    found, clock = liveness()
    found.expect("pods", 120)
    clock.now += WATCH_LAG_SECONDS - 1
    early = found.trouble()
    found.seen("pods", 119)
    found.seen("executionjobs", 500)
    clock.now += 2

    assert early == ""
    assert "watch of pods has not brought resourceVersion 120" in found.trouble()


def test_a_watch_that_lags_a_little_is_well() -> None:
    found, clock = liveness()
    found.expect("pods", 120)
    found.seen("pods", 121)
    clock.now += 3600

    assert found.trouble() == ""


def test_lists_that_fail_for_long_are_trouble() -> None:
    found, clock = liveness()
    found.resynced()
    clock.now += 1000

    assert "no LIST has ended for 1000 s" in found.trouble()


def test_before_the_first_list_readiness_tells_the_trouble() -> None:
    found, clock = liveness()
    clock.now += 10_000

    assert found.trouble() == ""


async def test_a_key_that_nobody_takes_and_one_that_hangs_are_trouble() -> None:
    queue = WorkQueue()
    found = Liveness(queue, 300)
    long_ago = asyncio.get_running_loop().time() - STALL_SECONDS - 1
    queue.add("a")
    queue._queued["a"] = queue._moved = long_ago
    waiting = found.trouble()
    await queue.get()
    taken = found.trouble()
    queue._active["a"] = long_ago
    hanging = found.trouble()
    queue.done("a")

    assert "job uid=a" in waiting
    assert taken == ""
    assert "job uid=a" in hanging
    assert found.trouble() == ""


async def test_a_key_that_waits_for_its_time_is_no_trouble() -> None:
    queue = WorkQueue()
    queue.add("a", 1000)

    assert queue.stalled() == ("", 0.0)


async def test_a_long_queue_that_moves_is_no_trouble() -> None:
    queue = WorkQueue()
    for key in "abc":
        queue.add(key)
        queue._queued[key] -= STALL_SECONDS + 1
    queue.done(await queue.get())

    assert Liveness(queue, 300).trouble() == ""


def test_the_probe_tells_it() -> None:
    assert Health(lambda: "the watch is dead").stuck() == "the watch is dead"


# The LIST expects of the watch what it shows first.


async def test_a_list_that_shows_what_the_watch_did_not_bring_expects_it() -> None:
    world = World()
    await world.workers.resync()
    quiet = world.liveness.trouble()
    world.kube.put(PODS, a_pod_body(phase="Running", agent=running(), sandbox=running()))
    await world.workers.resync()
    world.now += 100

    assert quiet == ""
    assert "watch of pods" in world.liveness.trouble()


async def test_what_the_operator_wrote_itself_is_not_expected() -> None:
    world = World()
    await world.workers.resync()
    await world.reconcile()
    await world.workers.resync()
    world.now += 100

    assert world.store.pod(JOB_UID, 0) is not None
    assert world.liveness.trouble() == ""


async def test_a_job_that_somebody_changed_is_expected_until_it_comes() -> None:
    world = World()
    await world.workers.resync()
    world.kube.touch(JOBS, "sales")
    await world.workers.resync()
    world.now += 100
    missing = world.liveness.trouble()
    body = copy.deepcopy(world.kube.objects[f"{JOBS}/sales"])
    world.liveness.seen("executionjobs", int(body["metadata"]["resourceVersion"]))

    assert "executionjobs" in missing
    assert world.liveness.trouble() == ""
