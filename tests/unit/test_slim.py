"""What memory keeps: all of a job that goes on, next to nothing of one that is settled."""

import json

from nanogrid_operator.facts import job_facts, pod_facts
from nanogrid_operator.slim import inert, settled, slim_job, slim_pod
from unit.builders import JOB_UID, Json, a_job_body, a_pod_body, a_report, ended, golden, running
from unit.fakes import World

ENDED: Json = {
    "phase": "Succeeded",
    "completionTime": "2025-10-09T08:54:00Z",
    "delivery": {"state": "Delivered"},
    "result": {"stdout": "x" * 12_000},
}


def test_of_a_settled_job_next_to_nothing_is_kept() -> None:
    body = a_job_body(status=ENDED, code={"inline": "y" * 60_000})

    assert len(json.dumps(slim_job(body))) < 500


def test_a_job_that_goes_on_or_is_to_be_told_is_kept_whole() -> None:
    waiting: list[Json] = [
        {},
        {"phase": "Running"},
        {**ENDED, "delivery": {"state": "Pending"}},
        {**ENDED, "delivery": {"state": "Delivered", "webhook": {"state": "Pending"}}},
        {
            **ENDED,
            "conditions": [
                {"type": "ResultStored", "status": "False", "reason": "StorageUnavailable"}
            ],
        },
    ]
    for status in waiting:
        body = a_job_body(status=status)
        assert not settled(body)
        assert slim_job(body) == a_job_body(status=status)


def test_a_settled_job_is_still_deleted_in_its_time() -> None:
    whole = a_job_body(status=ENDED, ttlSecondsAfterFinished=60)
    job = job_facts(slim_job(whole))

    assert (job.finished, job.ttl_seconds) == (True, 60)
    assert job.completed == job_facts(whole).completed
    assert not inert(whole)
    assert inert(a_job_body(status=ENDED))


def test_slimming_twice_changes_nothing() -> None:
    once = slim_job(a_job_body(status=ENDED, ttlSecondsAfterFinished=1))

    assert slim_job(dict(once)) == once


def test_a_slim_pod_says_all_that_is_read_of_a_pod() -> None:
    states = [
        a_pod_body(phase="Running", agent=running(), sandbox=ended(3)),
        a_pod_body(unschedulable="no room", disrupted="EvictionByEvictionAPI", deleting=True),
        {**golden("pod_zip.json"), "status": a_pod_body(sync=ended(1))["status"]},
    ]
    for body in states:
        body["metadata"].setdefault("uid", "u")
        assert pod_facts(slim_pod(body)) == pod_facts(body)
    assert len(json.dumps(slim_pod(states[2]))) < len(json.dumps(states[2])) / 3


async def test_ten_thousand_settled_jobs_are_no_work_at_a_restart() -> None:
    world = World()
    settled_jobs = [
        a_job_body(name=f"old-{n}", uid=f"uid-{n}", status=ENDED) for n in range(10_000)
    ]

    todo = world.store.replace([*settled_jobs, a_job_body()], [], 50)

    assert todo == [JOB_UID]


async def test_a_late_report_of_a_finished_job_is_not_kept() -> None:
    world = World(status=ENDED)
    world.push(a_report())

    await world.reconcile()

    assert world.store.report(JOB_UID, 0) is None
    assert world.kube.writes == []
