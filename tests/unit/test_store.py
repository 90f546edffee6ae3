"""The newest of each object wins, whatever the order; what vanished is remembered as gone."""

import pytest

from nanogrid_operator.store import Rejection, Store
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

    job = a_job_body()
    stores = [a_store(job, old, new), a_store(job, new, old)]

    assert [store.pod(JOB_UID, 0) for store in stores] == [new, new]


def test_bookkeeping_of_the_api_server_is_not_kept() -> None:
    body = a_job_body()
    body["metadata"]["managedFields"] = [{"manager": "kubectl"}]

    assert a_store(body).job(JOB_UID) == a_job_body()


def test_a_pod_that_vanished_is_remembered() -> None:
    store = a_store(a_job_body(), a_pod_body())

    uid = store.drop_pod(a_pod_body())

    assert (uid, store.pod(JOB_UID, 0), store.gone(JOB_UID, 0)) == (JOB_UID, None, a_pod_body())


def test_the_end_of_another_pod_leaves_the_jobs_own_alone() -> None:
    store = a_store(a_job_body(), a_pod_body(uid="new"))

    store.drop_pod(a_pod_body(uid="old"))

    assert store.pod(JOB_UID, 0) == a_pod_body(uid="new")


def test_a_late_answer_does_not_bring_a_deleted_pod_back() -> None:
    store = a_store(a_job_body(), a_pod_body(version=20))
    store.drop_pod(a_pod_body(version=30))

    store.put_pod(a_pod_body(version=20))

    assert store.pod(JOB_UID, 0) is None


def test_each_attempt_has_a_pod_of_its_own() -> None:
    first, second = a_pod_body(version=30), a_pod_body(attempt=1, uid="second", version=20)
    store = a_store(a_job_body(), first, second)

    store.drop_pod(first)

    assert (store.pod(JOB_UID, 0), store.pod(JOB_UID, 1)) == (None, second)
    assert (store.gone(JOB_UID, 0), store.gone(JOB_UID, 1)) == (first, None)


def test_the_end_of_a_pod_of_an_unknown_job_leaves_no_mark() -> None:
    store = a_store(a_pod_body())

    store.drop_pod(a_pod_body())

    assert store.gone(JOB_UID, 0) is None


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
def test_a_foreign_pod_with_a_jobs_labels_does_not_take_the_place_of_its_own(change: Json) -> None:
    store = a_store(a_job_body(), a_pod_body(version=20))
    foreign = a_pod_body(version=30, uid="foreign", phase="Failed")
    foreign["metadata"] |= change

    store.put_pod(foreign)

    assert store.pod(JOB_UID, 0) == a_pod_body(version=20)


def test_a_pod_with_a_spoiled_label_does_not_stop_a_list() -> None:
    spoiled = a_pod_body()
    spoiled["metadata"]["labels"]["nanogrid.io/attempt"] = "first"
    store = Store()

    store.replace([a_job_body()], [spoiled], listed_at=50)

    assert store.uids() == [JOB_UID]


def test_a_refusal_is_known_by_its_first_and_last_time_until_there_is_a_pod() -> None:
    store = a_store(a_job_body())
    store.put_rejection(JOB_UID, 0, "quota", 1.0)
    store.put_rejection(JOB_UID, 0, "quota again", 5.0)

    refused = store.rejection(JOB_UID, 0)
    store.put_pod(a_pod_body())

    assert refused == Rejection("quota again", since=1.0, last=5.0)
    assert store.rejection(JOB_UID, 1) is None
    assert store.rejection(JOB_UID, 0) is None


def test_reports_of_an_attempt_that_is_over_are_forgotten() -> None:
    store = a_store(a_job_body())
    store.put_report(JOB_UID, a_report(), 1.0)

    store.drop_reports(JOB_UID)

    assert store.report(JOB_UID, 0) is None


def test_each_attempt_has_a_report_of_its_own() -> None:
    store = a_store(a_job_body())
    second = a_report(a_failed_result(attempt=1))

    store.put_report(JOB_UID, second, 1.0)

    assert (store.report(JOB_UID, 0), store.report(JOB_UID, 1)) == (None, (second, 1.0))


def test_a_deleted_job_is_forgotten_with_all_that_is_its_own() -> None:
    store = a_store(a_job_body(), a_pod_body())
    store.put_report(JOB_UID, a_report(), 1.0)
    store.drop_pod(a_pod_body())
    store.put_rejection(JOB_UID, 1, "quota", 1.0)

    store.drop_job(JOB_UID)

    assert (store.uids(), store.report(JOB_UID, 0)) == ([], None)
    assert (store.gone(JOB_UID, 0), store.rejection(JOB_UID, 1)) == (None, None)


def test_the_first_report_of_a_job_stays() -> None:
    store = a_store(a_job_body())
    store.put_report(JOB_UID, a_report(), 1.0)

    store.put_report(JOB_UID, a_report(a_failed_result()), 2.0)

    assert store.report(JOB_UID, 0) == (a_report(), 1.0)


def test_a_report_for_an_unknown_job_is_not_kept() -> None:
    store = Store()

    store.put_report(JOB_UID, a_report(), 1.0)

    assert store.report(JOB_UID, 0) is None


def test_a_list_brings_what_no_event_told() -> None:
    store = Store()

    uids = store.replace([a_job_body()], [a_pod_body()], listed_at=50)

    assert uids == [JOB_UID]
    assert store.pod(JOB_UID, 0) == a_pod_body()


def test_a_list_ends_what_vanished_without_an_event() -> None:
    gone = a_job_body(uid="gone", version=11)
    store = a_store(a_job_body(), a_pod_body(), gone)

    uids = store.replace([a_job_body()], [], listed_at=50)

    assert uids == [JOB_UID]
    assert (store.pod(JOB_UID, 0), store.gone(JOB_UID, 0)) == (None, a_pod_body())


def test_what_is_newer_than_the_list_survives_it() -> None:
    new_job, new_pod = a_job_body(version=60), a_pod_body(version=61)
    store = a_store(new_job, new_pod)

    uids = store.replace([], [], listed_at=50)

    assert (uids, store.pod(JOB_UID, 0)) == ([JOB_UID], new_pod)


def test_an_older_list_does_not_undo_a_newer_event() -> None:
    store = a_store(a_job_body(version=60, status={"phase": "Running"}))

    store.replace([a_job_body(version=40)], [], listed_at=50)

    assert store.job(JOB_UID) == a_job_body(version=60, status={"phase": "Running"})


def test_jobs_whose_pods_have_ended_are_looked_at_first() -> None:
    store = Store()
    fresh = [a_job_body(uid=f"uid-{n}", name=f"j{n}") for n in range(3)]
    waiting = a_job_body()

    uids = store.replace([*fresh, waiting], [a_pod_body(phase="Succeeded")], 1)

    assert uids == [JOB_UID, "uid-0", "uid-1", "uid-2"]
