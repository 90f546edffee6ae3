"""Where a session is: decided from its job and a pod that may be anybody's."""

from dataclasses import replace
from typing import Any

import pytest

from nanogrid import names
from nanogrid_gateway.router.objects import Address, Job, Pod, job_from, pod_from
from nanogrid_gateway.router.route import Ended, NotReady, Ready, route
from nanogrid_gateway.router.table import Table

UID = "7b1f"
JOB = Job(
    address=Address("team-a", "s1"),
    uid=UID,
    request_id="r-1",
    phase="Running",
    reason="SessionReady",
    message="",
    pod_name="s1-0",
    open=False,
    deleting=False,
)
POD = Pod(
    address=Address("team-a", "s1-0"),
    uid="p-1",
    owners=frozenset({UID}),
    ip="10.0.0.7",
    phase="Running",
    ready=True,
    message="",
    deleting=False,
)


def test_ready_pod_of_a_running_session_is_the_way() -> None:
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
def test_pod_that_is_not_provably_the_sessions_is_no_pod(pod: Pod | None) -> None:
    assert route(JOB, pod) == NotReady("Initializing", "", "")


def test_pod_that_the_operator_has_not_named_is_no_pod() -> None:
    nameless = replace(POD, address=Address("team-a", ""))
    assert route(replace(JOB, pod_name=""), nameless) == NotReady("Initializing", "", "")


@pytest.mark.parametrize(
    ("job", "pod", "wanted"),
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
            JOB,  # its status still tells of when it was ready
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
def test_session_that_starts_says_what_it_waits_for(
    job: Job, pod: Pod | None, wanted: NotReady
) -> None:
    assert route(job, pod) == wanted


@pytest.mark.parametrize(
    ("job", "pod"),
    [
        (JOB, replace(POD, deleting=True)),
        (JOB, replace(POD, phase="Succeeded")),
        (JOB, replace(POD, phase="Failed")),
        (replace(JOB, deleting=True), POD),
    ],
)
def test_session_on_its_way_out_takes_nothing_more(job: Job, pod: Pod) -> None:
    found = route(job, pod)
    assert isinstance(found, NotReady)
    assert (found.reason, found.ending) == ("Stopping", True)


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_ended_session_is_ended_even_while_its_pod_is_ready(phase: str) -> None:
    job = replace(JOB, phase=phase, reason="IdleTimeout", message="It idled.")
    assert route(job, POD) == Ended("IdleTimeout", "It idled.")


def job_body(name: str = "s1", **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"namespace": "team-a", "name": name, "uid": UID},
        "spec": {"mode": names.MODE_SESSION},
        "status": status,
    }


def pod_body(uid: str = "p-1", ip: str = "10.0.0.7") -> dict[str, Any]:
    owner = {"kind": names.KIND, "uid": UID}
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


def test_job_is_read_with_the_uid_as_the_last_resort_for_its_id() -> None:
    job = job_from(job_body(phase="Running", podName="s1-0", reason="SessionReady"))
    assert job == replace(JOB, request_id=UID)
    named = job_body()
    named["spec"] |= {"requestId": "r-1", "session": {"auth": "Unprotected"}}
    job = job_from(named)
    assert job is not None
    assert (job.request_id, job.open, job.phase) == ("r-1", True, "")


def test_batch_job_is_no_session() -> None:
    body = job_body()
    body["spec"]["mode"] = "Batch"
    assert job_from(body) is None
    assert job_from({"metadata": body["metadata"]}) is None


def test_pod_is_read_with_the_owners_that_are_jobs() -> None:
    assert pod_from(pod_body()) == POD
    bare = pod_from({"metadata": {"namespace": "n", "name": "p", "uid": "u"}})
    assert (bare.ip, bare.ready, bare.owners) == ("", False, frozenset())


class Gone(list[tuple[str, str]]):
    """Pods that the table said are gone: uid and IP."""

    def __call__(self, pod: Pod) -> None:
        self.append((pod.uid, pod.ip))


def test_table_tells_of_each_pod_that_goes_once() -> None:
    gone = Gone()
    table = Table(gone)
    table.put_pod(pod_body())
    table.put_pod(pod_body())
    assert gone == []
    table.put_pod(pod_body(ip="10.0.0.8"))  # the kubelet made its network anew
    table.put_pod(pod_body(uid="p-2", ip="10.0.0.8"))  # another pod of the name
    table.drop_pod(pod_body(uid="p-2"))
    table.drop_pod(pod_body(uid="p-2"))
    assert gone == [("p-1", "10.0.0.7"), ("p-1", "10.0.0.8"), ("p-2", "10.0.0.8")]


def test_list_of_one_namespace_leaves_the_others_alone() -> None:
    gone = Gone()
    table = Table(gone)
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
