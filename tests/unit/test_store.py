"""The newest of each object wins, whatever the order; what vanished is remembered as gone."""

import pytest

from nanogrid_operator.store import Store
from unit.builders import JOB_UID, Json, a_failed_result, a_job_body, a_pod_body, a_report


def a_store(*bodies: Json) -> Store:
    store = Store()
    for body in bodies:
        (store.put_job if body["kind"] == "ExecutionJob" else store.put_pod)(body)
    return store


def test_the_newer_job_wins_in_either_order() -> None:
    old, new = a_job_body(version=9), a_job_body(version=10)

    stores = [a_store(old, new), a_store(new, old)]

    assert [store.job(JOB_UID) for store in stores] == [new, new]


def test_the_newer_pod_wins_in_either_order() -> None:
    old, new = a_pod_body(version=99), a_pod_body(version=100, phase="Running")

    stores = [a_store(old, new), a_store(new, old)]

    assert [store.pod(JOB_UID) for store in stores] == [new, new]


def test_bookkeeping_of_the_api_server_is_not_kept() -> None:
    body = a_job_body()
    body["metadata"]["managedFields"] = [{"manager": "kubectl"}]

    assert a_store(body).job(JOB_UID) == a_job_body()


def test_a_pod_that_vanished_is_remembered() -> None:
    store = a_store(a_job_body(), a_pod_body())

    uid = store.drop_pod(a_pod_body())

    assert (uid, store.pod(JOB_UID), store.had_pod(JOB_UID)) == (JOB_UID, None, True)


def test_the_end_of_another_pod_leaves_the_jobs_own_alone() -> None:
    store = a_store(a_job_body(), a_pod_body(uid="new"))

    store.drop_pod(a_pod_body(uid="old"))

    assert store.pod(JOB_UID) == a_pod_body(uid="new")


@pytest.mark.xfail(strict=True, reason="an answer to our own write may come after DELETED")
def test_a_late_answer_does_not_bring_a_deleted_pod_back() -> None:
    store = a_store(a_job_body(), a_pod_body(version=20))
    store.drop_pod(a_pod_body(version=30))

    store.put_pod(a_pod_body(version=20))

    assert store.pod(JOB_UID) is None


def test_a_status_that_names_a_pod_is_as_good_as_having_seen_it() -> None:
    fresh = a_store(a_job_body())
    restarted = a_store(a_job_body(status={"podName": "sales-5351954b-0"}))

    assert (fresh.had_pod(JOB_UID), restarted.had_pod(JOB_UID)) == (False, True)


def test_a_deleted_job_is_forgotten_with_all_that_is_its_own() -> None:
    store = a_store(a_job_body(), a_pod_body())
    store.put_report(JOB_UID, a_report(), 1.0)
    store.drop_pod(a_pod_body())

    store.drop_job(JOB_UID)

    assert (store.uids(), store.report(JOB_UID), store.had_pod(JOB_UID)) == ([], None, False)


def test_the_first_report_of_a_job_stays() -> None:
    store = a_store(a_job_body())
    store.put_report(JOB_UID, a_report(), 1.0)

    store.put_report(JOB_UID, a_report(a_failed_result()), 2.0)

    assert store.report(JOB_UID) == (a_report(), 1.0)


def test_a_report_for_an_unknown_job_is_not_kept() -> None:
    store = Store()

    store.put_report(JOB_UID, a_report(), 1.0)

    assert store.report(JOB_UID) is None


def test_a_list_brings_what_no_event_told() -> None:
    store = Store()

    uids = store.replace([a_job_body()], [a_pod_body()], listed_at=50)

    assert uids == [JOB_UID]
    assert store.pod(JOB_UID) == a_pod_body()


def test_a_list_ends_what_vanished_without_an_event() -> None:
    gone = a_job_body(uid="gone", version=11)
    store = a_store(a_job_body(), a_pod_body(), gone)

    uids = store.replace([a_job_body()], [], listed_at=50)

    assert uids == [JOB_UID]
    assert (store.pod(JOB_UID), store.had_pod(JOB_UID)) == (None, True)


def test_what_is_newer_than_the_list_survives_it() -> None:
    new_job, new_pod = a_job_body(version=60), a_pod_body(version=61)
    store = a_store(new_job, new_pod)

    uids = store.replace([], [], listed_at=50)

    assert (uids, store.pod(JOB_UID)) == ([JOB_UID], new_pod)


def test_an_older_list_does_not_undo_a_newer_event() -> None:
    store = a_store(a_job_body(version=60, status={"phase": "Running"}))

    store.replace([a_job_body(version=40)], [], listed_at=50)

    assert store.job(JOB_UID) == a_job_body(version=60, status={"phase": "Running"})
