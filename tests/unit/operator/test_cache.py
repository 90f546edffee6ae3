"""The newest version of each object wins in any order. Deleted pods are remembered."""

import pytest

from nanogrid.types import Json
from nanogrid_operator.model.observed import Rejection
from nanogrid_operator.watch.cache import JobCache
from support.builders import JOB_UID, a_failed_result, a_job_body, a_pod_body, a_report


def a_cache(*bodies: Json) -> JobCache:
    cache = JobCache()
    for body in bodies:
        (cache.put_job if body["kind"] == "ExecutionJob" else cache.put_pod)(body)
    return cache


def test_the_newer_version_of_a_job_wins_in_either_order() -> None:
    old, new = a_job_body(version=9), a_job_body(version=10)

    caches = [a_cache(old, new), a_cache(new, old)]

    assert [cache.job(JOB_UID) for cache in caches] == [new, new]


def test_the_newer_version_of_a_pod_wins_in_either_order() -> None:
    old, new = a_pod_body(version=99), a_pod_body(version=100, phase="Running")

    job = a_job_body()
    caches = [a_cache(job, old, new), a_cache(job, new, old)]

    assert [cache.pod(JOB_UID, 0) for cache in caches] == [new, new]


def test_managed_fields_are_not_kept() -> None:
    body = a_job_body()
    body["metadata"]["managedFields"] = [{"manager": "kubectl"}]

    assert a_cache(body).job(JOB_UID) == a_job_body()


def test_a_deleted_pod_is_remembered() -> None:
    cache = a_cache(a_job_body(), a_pod_body())

    uid = cache.drop_pod(a_pod_body())

    assert (uid, cache.pod(JOB_UID, 0), cache.gone(JOB_UID, 0)) == (JOB_UID, None, a_pod_body())


def test_the_deletion_of_another_pod_does_not_change_the_jobs_own_pod() -> None:
    cache = a_cache(a_job_body(), a_pod_body(uid="new"))

    cache.drop_pod(a_pod_body(uid="old"))

    assert cache.pod(JOB_UID, 0) == a_pod_body(uid="new")


def test_a_late_answer_does_not_bring_back_a_deleted_pod() -> None:
    cache = a_cache(a_job_body(), a_pod_body(version=20))
    cache.drop_pod(a_pod_body(version=30))

    cache.put_pod(a_pod_body(version=20))

    assert cache.pod(JOB_UID, 0) is None


def test_each_attempt_has_its_own_pod() -> None:
    first, second = a_pod_body(version=30), a_pod_body(attempt=1, uid="second", version=20)
    cache = a_cache(a_job_body(), first, second)

    cache.drop_pod(first)

    assert (cache.pod(JOB_UID, 0), cache.pod(JOB_UID, 1)) == (None, second)
    assert (cache.gone(JOB_UID, 0), cache.gone(JOB_UID, 1)) == (first, None)


def test_a_deleted_pod_of_an_unknown_job_is_not_remembered() -> None:
    cache = a_cache(a_pod_body())

    cache.drop_pod(a_pod_body())

    assert cache.gone(JOB_UID, 0) is None


@pytest.mark.parametrize(
    "change",
    [
        {"namespace": "team-b"},
        {"name": "mine"},
        {"ownerReferences": [{"kind": "ExecutionJob", "name": "x", "uid": "another"}]},
        {"ownerReferences": []},
    ],
    ids=["namespace", "name", "owner", "no owner"],
)
def test_a_foreign_pod_with_a_jobs_labels_does_not_replace_the_jobs_pod(change: Json) -> None:
    cache = a_cache(a_job_body(), a_pod_body(version=20))
    foreign = a_pod_body(version=30, uid="foreign", phase="Failed")
    foreign["metadata"] |= change

    cache.put_pod(foreign)

    assert cache.pod(JOB_UID, 0) == a_pod_body(version=20)


def test_a_pod_with_a_malformed_label_does_not_stop_a_list() -> None:
    malformed = a_pod_body()
    malformed["metadata"]["labels"]["nanogrid.io/attempt"] = "first"
    cache = JobCache()

    cache.replace([a_job_body()], [malformed], listed_at=50)

    assert cache.uids() == [JOB_UID]


def test_a_rejection_has_its_first_and_last_time_until_the_pod_exists() -> None:
    cache = a_cache(a_job_body())
    cache.put_rejection(JOB_UID, 0, "quota", 1.0)
    cache.put_rejection(JOB_UID, 0, "quota again", 5.0)

    refused = cache.rejection(JOB_UID, 0)
    cache.put_pod(a_pod_body())

    assert refused == Rejection("quota again", since=1.0, last=5.0)
    assert cache.rejection(JOB_UID, 1) is None
    assert cache.rejection(JOB_UID, 0) is None


def test_reports_of_an_ended_attempt_are_forgotten() -> None:
    cache = a_cache(a_job_body())
    cache.put_report(JOB_UID, a_report(), 1.0)

    cache.drop_reports(JOB_UID)

    assert cache.report(JOB_UID, 0) is None


def test_each_attempt_has_its_own_report() -> None:
    cache = a_cache(a_job_body())
    second = a_report(a_failed_result(attempt=1))

    cache.put_report(JOB_UID, second, 1.0)

    assert (cache.report(JOB_UID, 0), cache.report(JOB_UID, 1)) == (None, (second, 1.0))


def test_a_deleted_job_is_forgotten_with_everything_that_belongs_to_it() -> None:
    cache = a_cache(a_job_body(), a_pod_body())
    cache.put_report(JOB_UID, a_report(), 1.0)
    cache.drop_pod(a_pod_body())
    cache.put_rejection(JOB_UID, 1, "quota", 1.0)

    cache.drop_job(JOB_UID)

    assert (cache.uids(), cache.report(JOB_UID, 0)) == ([], None)
    assert (cache.gone(JOB_UID, 0), cache.rejection(JOB_UID, 1)) == (None, None)


def test_the_first_report_of_a_job_stays() -> None:
    cache = a_cache(a_job_body())
    cache.put_report(JOB_UID, a_report(), 1.0)

    cache.put_report(JOB_UID, a_report(a_failed_result()), 2.0)

    assert cache.report(JOB_UID, 0) == (a_report(), 1.0)


def test_a_report_for_an_unknown_job_is_not_kept() -> None:
    cache = JobCache()

    cache.put_report(JOB_UID, a_report(), 1.0)

    assert cache.report(JOB_UID, 0) is None


def test_a_list_adds_objects_that_had_no_event() -> None:
    cache = JobCache()

    uids = cache.replace([a_job_body()], [a_pod_body()], listed_at=50)

    assert uids == [JOB_UID]
    assert cache.pod(JOB_UID, 0) == a_pod_body()


def test_a_list_removes_objects_whose_deletion_had_no_event() -> None:
    gone = a_job_body(uid="gone", version=11)
    cache = a_cache(a_job_body(), a_pod_body(), gone)

    uids = cache.replace([a_job_body()], [], listed_at=50)

    assert uids == [JOB_UID]
    assert (cache.pod(JOB_UID, 0), cache.gone(JOB_UID, 0)) == (None, a_pod_body())


def test_objects_that_are_newer_than_the_list_stay() -> None:
    new_job, new_pod = a_job_body(version=60), a_pod_body(version=61)
    cache = a_cache(new_job, new_pod)

    uids = cache.replace([], [], listed_at=50)

    assert (uids, cache.pod(JOB_UID, 0)) == ([JOB_UID], new_pod)


def test_an_older_list_does_not_undo_a_newer_event() -> None:
    cache = a_cache(a_job_body(version=60, status={"phase": "Running"}))

    cache.replace([a_job_body(version=40)], [], listed_at=50)

    assert cache.job(JOB_UID) == a_job_body(version=60, status={"phase": "Running"})


def test_jobs_whose_pods_have_ended_come_first() -> None:
    cache = JobCache()
    fresh = [a_job_body(uid=f"uid-{n}", name=f"j{n}") for n in range(3)]
    waiting = a_job_body()

    uids = cache.replace([*fresh, waiting], [a_pod_body(phase="Succeeded")], 1)

    assert uids == [JOB_UID, "uid-0", "uid-1", "uid-2"]
