"""The route to a session, from its job and from a pod that anyone may have created."""

from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names
from nanogrid_gateway.router.route import Ended, NotReady, Ready, route
from nanogrid_gateway.router.sessions import Address, Job, Pod, job_from, pod_from
from nanogrid_gateway.router.table import SessionTable
from support.routing.objects import JOB, JOB_UID, POD

pytestmark = pytest.mark.security


def test_running_session_with_a_ready_pod_is_ready() -> None:
    assert route(JOB, POD) == Ready(POD)


@pytest.mark.parametrize(
    "pod",
    [
        None,
        replace(POD, owners=frozenset({"another"})),
        replace(POD, owners=frozenset[str]()),
        replace(POD, address=Address("team-b", "s1-0")),
        replace(POD, address=Address("team-a", "s1-1")),
    ],
    ids=["none", "another owner", "no owner", "another namespace", "another name"],
)
def test_pod_that_does_not_provably_belong_to_the_session_is_ignored(pod: Pod | None) -> None:
    assert route(JOB, pod) == NotReady("Initializing", "", "")


def test_pod_that_the_status_does_not_name_is_ignored() -> None:
    nameless = replace(POD, address=Address("team-a", ""))
    assert route(replace(JOB, pod_name=""), nameless) == NotReady("Initializing", "", "")


@pytest.mark.parametrize(
    ("job", "pod", "expected"),
    [
        (
            replace(JOB, phase="Pending", reason="Unschedulable", message="no node"),
            replace(POD, ready=False, ip=""),
            NotReady("Unschedulable", "no node", ""),
        ),
        (
            replace(JOB, phase="Syncing", reason="Syncing", message="3 of 9"),
            replace(POD, ready=False),
            NotReady("Syncing", "3 of 9", "10.0.0.7"),
        ),
        (
            JOB,  # the status is from when the pod was ready
            replace(POD, ready=False, message="containers with unready status: [agent]"),
            NotReady("Initializing", "containers with unready status: [agent]", "10.0.0.7"),
        ),
        (JOB, replace(POD, ip=""), NotReady("Initializing", "", "")),
        (
            replace(JOB, phase="Suspended", reason="Suspended", message="suspended"),
            None,
            NotReady("Suspended", "suspended", ""),
        ),
    ],
)
def test_starting_session_reports_what_it_waits_for(
    job: Job, pod: Pod | None, expected: NotReady
) -> None:
    assert route(job, pod) == expected


@pytest.mark.parametrize(
    ("job", "pod"),
    [
        (JOB, replace(POD, deleting=True)),
        (JOB, replace(POD, phase="Succeeded")),
        (JOB, replace(POD, phase="Failed")),
        (replace(JOB, deleting=True), POD),
    ],
)
def test_ending_session_accepts_no_requests(job: Job, pod: Pod) -> None:
    found = route(job, pod)
    assert isinstance(found, NotReady)
    assert (found.reason, found.ending) == ("Stopping", True)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_ended_session_is_ended_even_while_its_pod_is_ready(phase: str) -> None:
    job = replace(JOB, phase=phase, reason="IdleTimeout", message="It idled.")
    assert route(job, POD) == Ended("IdleTimeout", "It idled.")


def job_body(name: str = "s1", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "team-a", "name": name, "uid": JOB_UID},
        "spec": {"mode": names.MODE_SESSION},
        "status": status,
    }


def pod_body(uid: str = "p-1", ip: str = "10.0.0.7") -> dict[str, Any]:
    owner = {"kind": names.KIND, "uid": JOB_UID}
    foreign = {"kind": "ReplicaSet", "uid": "other"}
    return {
        "metadata": {
            "namespace": "team-a",
            "name": "s1-0",
            "uid": uid,
            "ownerReferences": [foreign, owner],
        },
        "status": {
            "phase": "Running",
            "podIP": ip,
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def test_job_without_a_request_id_gets_its_uid_as_id() -> None:
    job = job_from(job_body(phase="Running", podName="s1-0", reason="SessionReady"))
    assert job == replace(JOB, request_id=JOB_UID)
    named = job_body()
    named["spec"] |= {"requestId": "r-1", "session": {"auth": "Unprotected"}}
    job = job_from(named)
    assert job is not None
    assert (job.request_id, job.unprotected, job.phase) == ("r-1", True, "")


def test_batch_job_is_not_a_session() -> None:
    body = job_body()
    body["spec"]["mode"] = "Batch"
    assert job_from(body) is None
    assert job_from({"metadata": body["metadata"]}) is None


@pytest.mark.parametrize("attempt", [None, "two", [2], {}])
def test_a_result_that_is_odd_does_not_end_the_watch_of_all_sessions(attempt: object) -> None:
    job = job_from(job_body(phase="Failed", result={"attempt": attempt}))

    assert job is not None
    assert (job.phase, job.attempt) == ("Failed", 0)


def test_pod_has_only_jobs_as_owners() -> None:
    assert pod_from(pod_body()) == POD
    bare = pod_from({"metadata": {"namespace": "n", "name": "p", "uid": "u"}})
    assert (bare.ip, bare.ready, bare.owners) == ("", False, frozenset())


class GonePods(list[tuple[str, str]]):
    """Pods that the table reported as gone: uid and IP."""

    def __call__(self, pod: Pod) -> None:
        self.append((pod.uid, pod.ip))


def test_table_reports_each_gone_pod_once() -> None:
    gone = GonePods()
    table = SessionTable(gone)
    table.put_pod(pod_body())
    table.put_pod(pod_body())
    assert gone == []
    table.put_pod(pod_body(ip="10.0.0.8"))  # the kubelet recreated the pod's network
    table.put_pod(pod_body(uid="p-2", ip="10.0.0.8"))  # another pod with the same name
    table.drop_pod(pod_body(uid="p-2"))
    table.drop_pod(pod_body(uid="p-2"))
    assert gone == [("p-1", "10.0.0.7"), ("p-1", "10.0.0.8"), ("p-2", "10.0.0.8")]


def test_list_of_one_namespace_keeps_the_others() -> None:
    gone = GonePods()
    table = SessionTable(gone)
    other = job_body("s2")
    other["metadata"] = other["metadata"] | {"namespace": "team-b"}
    table.put_job(job_body())
    table.put_job(other)
    table.put_pod(pod_body())
    table.replace_jobs("team-a", [])
    assert table.job(Address("team-a", "s1")) is None
    assert table.job(Address("team-b", "s2")) is not None
    table.replace_pods("team-b", [])
    assert gone == []
    table.replace_pods("", [pod_body(uid="p-2")])
    assert gone == [("p-1", "10.0.0.7")]
    table.replace_jobs("", [job_body()])
    assert table.counts() == (1, 1)
    table.drop_job(job_body())
    assert table.counts() == (0, 1)
