"""What the cache keeps: everything of an active job, very little of a settled one."""

import json

from nanogrid.types import Json
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.lifecycle import inert, settled
from nanogrid_operator.model.pod_facts import pod_facts
from nanogrid_operator.watch.transform import transform_job, transform_pod
from support.builders import JOB_UID, a_job_body, a_pod_body, a_report, ended, golden, running
from support.operator_world import World

ENDED: Json = {
    "phase": "Succeeded",
    "completionTime": "2025-10-09T08:54:00Z",
    "delivery": {"state": "Delivered"},
    "result": {"stdout": "x" * 12_000},
}


def test_very_little_of_a_settled_job_is_kept() -> None:
    body = a_job_body(status=ENDED, code={"inline": "y" * 60_000})

    assert len(json.dumps(transform_job(body))) < 500


def test_a_job_that_is_not_settled_is_kept_completely() -> None:
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
        assert transform_job(body) == a_job_body(status=status)


def test_a_settled_job_keeps_its_time_to_live() -> None:
    whole = a_job_body(status=ENDED, ttlSecondsAfterFinished=60)
    job = job_facts(transform_job(whole))

    assert (job.finished, job.ttl_seconds) == (True, 60)
    assert job.completed == job_facts(whole).completed
    assert not inert(whole)
    assert inert(a_job_body(status=ENDED))


def test_transforming_twice_changes_nothing() -> None:
    once = transform_job(a_job_body(status=ENDED, ttlSecondsAfterFinished=1))

    assert transform_job(dict(once)) == once


def test_a_transformed_pod_has_all_facts() -> None:
    states = [
        a_pod_body(phase="Running", agent=running(), sandbox=ended(3)),
        a_pod_body(unschedulable="no room", disrupted="EvictionByEvictionAPI", deleting=True),
        {**golden("pod_zip.json"), "status": a_pod_body(sync=ended(1))["status"]},
    ]
    for body in states:
        body["metadata"].setdefault("uid", "u")
        assert pod_facts(transform_pod(body)) == pod_facts(body)
    assert len(json.dumps(transform_pod(states[2]))) < len(json.dumps(states[2])) / 3


async def test_settled_jobs_cause_no_work_at_a_restart() -> None:
    world = World()
    settled_jobs = [
        a_job_body(name=f"old-{n}", uid=f"uid-{n}", status=ENDED) for n in range(10_000)
    ]

    todo = world.cache.replace([*settled_jobs, a_job_body()], [], 50)

    assert todo == [JOB_UID]


async def test_a_late_report_of_a_finished_job_is_not_kept() -> None:
    world = World(status=ENDED)
    world.push(a_report())

    await world.reconcile()

    assert world.cache.report(JOB_UID, 0) is None
    assert world.kube.writes == []
