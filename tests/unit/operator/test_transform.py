"""What the cache keeps: everything of an active job, very little of a settled one."""

import copy
import json

import pytest

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.lifecycle import inert, kept, settled, time_to_live
from nanogrid_operator.model.pod_facts import pod_facts
from nanogrid_operator.watch.transform import transform_job, transform_pod
from support.builders import (
    JOB_UID,
    a_job_body,
    a_pod_body,
    a_report,
    ended,
    golden,
    running,
    some_settings,
)
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
    assert not inert(whole, None)
    assert inert(a_job_body(status=ENDED), None)


@pytest.mark.parametrize(
    ("named", "keep", "default", "seconds"),
    [
        (None, False, None, None),
        (None, False, 0, 0),
        (None, False, 600, 600),
        (None, True, None, None),
        (None, True, 600, None),
        (0, False, 600, 0),
        (60, False, None, 60),
        (60, False, 600, 60),
        (900, False, 600, 900),
        (60, True, 600, 60),
    ],
)
def test_the_time_to_live_of_a_job(
    named: int | None, keep: bool, default: int | None, seconds: int | None
) -> None:
    assert time_to_live(named, keep, default) == seconds
    spec = {} if named is None else {"ttlSecondsAfterFinished": named}
    body = annotated(a_job_body(status=ENDED, **spec), "true" if keep else None)
    for each in (body, transform_job(copy.deepcopy(body))):
        job = job_facts(each)
        assert time_to_live(job.ttl_seconds, job.kept, default) == seconds
        assert inert(each, default) == (seconds is None)


@pytest.mark.parametrize(
    ("value", "keep"),
    [(None, False), ("false", False), ("true", True), ("yes", True), ("", True), ("False", True)],
)
def test_a_job_is_kept_unless_its_annotation_says_false(value: str | None, keep: bool) -> None:
    body = annotated(a_job_body(status=ENDED), value)

    assert kept(body) == kept(transform_job(copy.deepcopy(body))) == keep


def annotated(body: Json, value: str | None) -> Json:
    """The job with the annotation that keeps it, and with another one."""
    keep = {} if value is None else {names.ANNOTATION_KEEP: value}
    body["metadata"]["annotations"] = {"team": "x" * 600, **keep}
    return body


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


async def test_a_default_time_to_live_holds_for_jobs_that_finished_before_the_start() -> None:
    world = World(some_settings(watch_namespaces="team-a", ttl_after_finished="60"))
    other = annotated(a_job_body(name="kept", uid="uid-kept", status=ENDED), "true")
    old = a_job_body(name="old", uid="uid-old", status=ENDED)

    todo = world.cache.replace([old, other, a_job_body()], [], 50)

    assert sorted(todo) == sorted(["uid-old", JOB_UID])


async def test_a_late_report_of_a_finished_job_is_not_kept() -> None:
    world = World(status=ENDED)
    world.push(a_report())

    await world.reconcile()

    assert world.cache.report(JOB_UID, 0) is None
    assert world.kube.writes == []
