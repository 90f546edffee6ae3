"""The memory of running jobs on the status: what is written, how often, and never after the end."""

import asyncio
import copy
from typing import Any

import pytest

from nanogrid.live_memory import REPORT_SECONDS, MemoryUse
from nanogrid.types import Json
from nanogrid_operator.kube.objects import pod_name
from nanogrid_operator.reconcile.reconciler import MEMORY_SHARE
from nanogrid_operator.status.live_memory import LiveMemory
from support.builders import (
    CREATED,
    JOB_UID,
    MIB,
    a_failed_result,
    a_job_body,
    a_lost_result,
    a_pod_body,
    a_report,
    a_result,
    running,
    some_settings,
)
from support.fake_time import now
from support.operator_fakes import JOBS, WRITE_STATUS
from support.operator_world import World, run_for

LIMIT = 256 * MIB


class Turns:
    """When each job had its turn."""

    def __init__(self, per_second: float) -> None:
        self.memory = LiveMemory(per_second, self.wake)
        self.given: list[tuple[float, str]] = []
        self.began = now()

    def wake(self, uid: str) -> None:
        self.given.append((now() - self.began, uid))

    def take(self, uid: str, mib: int) -> None:
        self.memory.take(uid, 0, MemoryUse(mib * MIB, mib * MIB), LIMIT)

    async def run(self, seconds: float) -> None:
        await run_for(seconds, self.memory.run())


async def test_a_thousand_jobs_share_five_writes_per_second_oldest_first() -> None:
    turns = Turns(5.0)
    jobs = [f"job-{number:04}" for number in range(1000)]
    for uid in jobs:
        turns.take(uid, 100)

    await turns.run(100)

    assert len(turns.given) == 500
    assert [uid for _, uid in turns.given] == jobs[:500]


async def test_a_job_that_reports_all_the_time_does_not_delay_the_others() -> None:
    turns = Turns(1.0)
    for uid in ("loud", "quiet"):
        turns.take(uid, 10)
    for number in range(50):
        turns.take("loud", 20 + 20 * number)

    await turns.run(10)

    assert turns.given == [(0.0, "loud"), (1.0, "quiet")]


async def test_a_new_attempt_waits_for_a_turn_of_its_own() -> None:
    turns = Turns(1.0)
    turns.take("a", 100)
    await turns.run(0.5)
    assert len(turns.given) == 1, "the turn of the first attempt, which ended before"

    turns.memory.take("a", 1, MemoryUse(5, 5), LIMIT)
    turns.memory.take("a", 0, MemoryUse(9, 9), LIMIT)  # a late report of the first attempt
    await turns.run(10)

    assert [uid for _, uid in turns.given] == ["a", "a"]


async def test_no_turn_with_a_rate_of_zero() -> None:
    turns = Turns(0.0)

    turns.take("a", 100)
    await turns.run(60)

    assert turns.given == []


def running_world(**changes: Any) -> World:
    """A job whose status says Running, and its pod."""
    status = {"phase": "Running", "reason": "Executing", "podName": "x"}
    world = World(some_settings(watch_namespaces="team-a", s3_secret="", **changes), status=status)
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.now = CREATED + 60
    return world


def use(world: World, current: int, peak: int | None, attempt: int = 0) -> None:
    """A report of the agent, in MiB."""
    peak_bytes = None if peak is None else peak * MIB
    world.parts.memory.take(JOB_UID, attempt, MemoryUse(current * MIB, peak_bytes), LIMIT)


async def give_turns(world: World, seconds: float = 1.0) -> None:
    """The jobs whose turn it is are reconciled."""
    await run_for(seconds, world.parts.memory.run())
    await world.reconcile()


def shown(world: World) -> tuple[str | None, str | None]:
    return world.status.get("memory"), world.status.get("peakMemory")


async def test_the_status_shows_memory_and_peak_and_changes_nothing_else() -> None:
    world = running_world()
    before = copy.deepcopy(world.status)

    use(world, 38, 41)
    await give_turns(world)

    assert shown(world) == ("38Mi", "41Mi/256Mi")
    assert {k: v for k, v in world.status.items() if k not in ("memory", "peakMemory")} == before
    assert world.kube.writes == [WRITE_STATUS]
    assert world.events == []


async def test_nothing_is_written_before_a_job_has_its_turn() -> None:
    world = running_world()

    use(world, 38, 41)
    await world.reconcile()

    assert (shown(world), world.kube.writes) == ((None, None), [])


async def test_equal_text_and_small_changes_are_not_written() -> None:
    world = running_world()
    use(world, 38, 41)
    await give_turns(world)

    use(world, 45, 45)
    await give_turns(world, 60)
    assert world.kube.writes == [WRITE_STATUS]

    use(world, 100, 100)
    await give_turns(world, 60)
    assert shown(world) == ("100Mi", "100Mi/256Mi")
    assert world.kube.writes == [WRITE_STATUS] * 2


async def test_a_write_of_running_takes_the_memory_along() -> None:
    world = World()
    world.see_pod(phase="Running", agent=running(), sandbox=running())
    world.now = CREATED + 5
    use(world, 38, 41)

    await give_turns(world)
    await give_turns(world, 60)

    assert shown(world) == ("38Mi", "41Mi/256Mi")
    assert world.kube.writes == [WRITE_STATUS]


@pytest.mark.parametrize(
    ("report", "peak"),
    [
        (a_report(), "41Mi/256Mi"),
        (a_report(a_failed_result()), "41Mi/256Mi"),
        (a_report(a_lost_result(), final=True), None),
    ],
    ids=["success", "failure", "no peak known"],
)
async def test_the_end_removes_the_memory_and_shows_the_peak_of_the_result(
    report: Any, peak: str | None
) -> None:
    world = running_world()
    use(world, 200, 222)
    await give_turns(world)
    assert shown(world) == ("200Mi", "222Mi/256Mi")

    world.push(report)
    await world.reconcile()

    assert world.status["phase"] in ("Succeeded", "Failed")
    assert shown(world) == (None, peak)


async def test_a_report_that_comes_with_the_result_or_later_is_not_written() -> None:
    world = running_world()
    use(world, 38, 41)
    await run_for(1, world.parts.memory.run())  # its turn has come
    world.push(a_report())

    await world.reconcile()
    use(world, 99, 99)
    await give_turns(world)

    assert shown(world) == (None, "41Mi/256Mi")
    assert world.kube.writes == [WRITE_STATUS]


async def test_the_next_attempt_shows_nothing_of_the_last_one() -> None:
    world = running_world()
    world.change_spec(backoffLimit=1)
    use(world, 200, 222)
    await give_turns(world)

    world.push(a_report(a_failed_result()))
    await world.reconcile()

    assert world.status["reason"] == "Retrying"
    assert shown(world) == (None, None)
    use(world, 99, 99, attempt=0)  # a late report of the first attempt
    await give_turns(world, 60)
    assert shown(world) == (None, None)


async def test_a_lost_race_is_repeated_though_the_agent_reports_nothing_new() -> None:
    world = running_world()
    use(world, 38, 41)
    world.kube.touch(JOBS, "sales")  # another client changes the job

    await give_turns(world)
    assert shown(world) == (None, None)
    assert world.queue.retries == []
    await give_turns(world, REPORT_SECONDS - 2)
    assert world.kube.writes == [WRITE_STATUS]
    await give_turns(world, 3)

    assert world.kube.writes == [WRITE_STATUS] * 2
    assert shown(world) == ("38Mi", "41Mi/256Mi")
    await give_turns(world, 60)
    assert world.kube.writes == [WRITE_STATUS] * 2


@pytest.mark.parametrize("code", [0, 403, 422, 429, 500])
async def test_a_failed_write_is_repeated_at_a_later_turn(code: int) -> None:
    world = running_world()
    world.kube.refuse("PATCH", code)
    world.kube.refuse("PATCH", code)
    use(world, 38, 41)

    for _ in range(4):
        await give_turns(world, REPORT_SECONDS + 1)

    assert world.kube.writes == [WRITE_STATUS] * 3
    assert world.queue.retries == []
    assert shown(world) == ("38Mi", "41Mi/256Mi")


async def test_a_failed_write_of_an_ended_job_is_not_repeated() -> None:
    world = running_world()
    world.kube.refuse("PATCH", 500)
    use(world, 38, 41)
    await give_turns(world)
    world.push(a_report())
    await world.reconcile()
    writes = len(world.kube.writes)

    await give_turns(world, 60)

    assert len(world.kube.writes) == writes
    assert shown(world) == (None, "41Mi/256Mi")


async def test_writes_without_answer_leave_most_workers_to_other_jobs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = running_world(workers=16)
    uids = [f"uid-{number}" for number in range(16)]
    for number, uid in enumerate(uids):
        name = f"job-{number}"
        status = {"phase": "Running", "reason": "Executing", "podName": "x"}
        world.cache.put_job(a_job_body(name=name, uid=uid, status=status))
        pod = a_pod_body(job_uid=uid, phase="Running", agent=running(), sandbox=running())
        pod["metadata"]["name"] = pod_name(name, uid, 0)
        world.cache.put_pod(pod)
        world.parts.memory.take(uid, 0, MemoryUse(MIB, MIB), LIMIT)
    await run_for(60, world.parts.memory.run())  # all have their turn
    hanging: list[str] = []
    patch = world.kube.patch_status

    async def hang(path: str, name: str, body: Json) -> Json:
        hanging.append(name)
        await asyncio.sleep(600)
        return await patch(path, name, body)

    monkeypatch.setattr(world.kube, "patch_status", hang)
    await asyncio.gather(*(world.parts.reconciler.reconcile(uid) for uid in uids))
    assert len(hanging) == 16 // MEMORY_SHARE

    await run_for(60, world.parts.memory.run())
    await asyncio.gather(*(world.parts.reconciler.reconcile(uid) for uid in uids[-4:]))
    assert len(hanging) == 2 * (16 // MEMORY_SHARE), "the others have a later turn"


async def test_a_write_without_answer_does_not_delay_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = running_world()
    patch = world.kube.patch_status

    async def hang(*_: Any) -> Json:
        await asyncio.sleep(600)
        raise AssertionError

    monkeypatch.setattr(world.kube, "patch_status", hang)
    use(world, 38, 41)
    began = now()
    await give_turns(world)
    monkeypatch.setattr(world.kube, "patch_status", patch)
    world.push(a_report(a_result()))
    await world.reconcile()

    assert now() - began <= 1 + 2
    assert world.end == ("Succeeded", "Completed", "Delivered")


async def test_a_session_shows_the_memory_of_its_sandbox() -> None:
    body = a_job_body(mode="Session", session={})
    del body["spec"]["code"]
    world = World(some_settings(session_key="k" * 32, session_url="http://r", s3_secret=""), body)
    world.see_pod(phase="Running", ready=True, agent=running(), sandbox=running())
    world.now = CREATED + 60
    await world.reconcile()
    assert world.status["phase"] == "Running"
    assert shown(world) == (None, None)

    use(world, 38, None)
    await give_turns(world)
    assert shown(world) == ("38Mi", None)

    use(world, 99, 120)
    await give_turns(world, 60)
    assert shown(world) == ("99Mi", "120Mi/256Mi")


async def test_a_deleted_job_is_forgotten() -> None:
    world = running_world()
    use(world, 38, 41)

    world.cache.drop_job(JOB_UID)
    await give_turns(world, 60)

    assert world.kube.writes == []
