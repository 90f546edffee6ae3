"""What the operator reads from the API server's JSON."""

import pytest

from nanogrid import names
from nanogrid_operator.facts import Container, Ended, Pod, job_facts, pod_facts, seconds
from unit.builders import (
    CREATED,
    CREATED_TEXT,
    JOB_UID,
    MIB,
    POD_NAME,
    POD_UID,
    a_job,
    a_job_body,
    a_pod,
    a_pod_body,
    ended,
    running,
    waiting,
)


def test_a_pod_on_its_way_is_read_whole() -> None:
    pod = a_pod(
        phase="Running",
        sync=ended(0),
        agent=running(),
        sandbox=waiting("ErrImagePull", "no such image"),
    )

    assert pod == Pod(
        name=POD_NAME,
        uid=POD_UID,
        job_uid=JOB_UID,
        attempt=0,
        created=CREATED,
        phase="Running",
        memory_limit_bytes=256 * MIB,
        containers={
            "sync-input": Container(ended=Ended(0, "Completed", "")),
            "agent": Container(running=True),
            "sandbox": Container(waiting_reason="ErrImagePull", waiting_message="no such image"),
        },
    )


def test_a_pod_without_a_status_is_pending_and_says_nothing() -> None:
    body = a_pod_body()
    del body["status"]

    pod = pod_facts(body)

    assert (pod.phase, pod.containers, pod.over) == ("Pending", {}, False)
    assert pod.container("agent") == Container()


@pytest.mark.parametrize(
    ("phase", "over"), [("Running", False), ("Failed", True), ("Succeeded", True)]
)
def test_a_pod_is_over_when_its_phase_says_so(phase: str, over: bool) -> None:
    assert a_pod(phase=phase).over is over


def test_the_schedulers_complaint_is_kept() -> None:
    pod = a_pod(unschedulable="0/3 nodes are available: 3 Insufficient memory.")

    assert pod.unschedulable == "0/3 nodes are available: 3 Insufficient memory."


def test_a_scheduled_pod_has_no_complaint() -> None:
    body = a_pod_body()
    body["status"]["conditions"][0]["message"] = "all well"

    assert pod_facts(body).unschedulable == ""


def test_the_memory_limit_is_the_sandboxs_own() -> None:
    assert a_pod(memory="1Gi").memory_limit_bytes == 1024 * MIB


@pytest.mark.xfail(
    strict=True,
    raises=ValueError,
    reason="a limit of 1024Ti is answered as 1Pi, and quantity() does not read it",
)
def test_a_pod_with_an_enormous_limit_can_be_read() -> None:
    assert a_pod(memory="1Pi").memory_limit_bytes == 2**50


def test_a_pod_without_a_memory_limit_has_none() -> None:
    body = a_pod_body()
    body["spec"]["containers"][1]["resources"] = {}

    assert pod_facts(body).memory_limit_bytes is None


def test_the_attempt_is_read_from_its_label() -> None:
    body = a_pod_body()
    body["metadata"]["labels"][names.LABEL_ATTEMPT] = "3"

    assert pod_facts(body).attempt == 3


@pytest.mark.xfail(strict=True, raises=ValueError, reason="int() of a label that anybody may edit")
def test_a_label_that_somebody_spoiled_does_not_stop_the_job() -> None:
    body = a_pod_body()
    body["metadata"]["labels"][names.LABEL_ATTEMPT] = "first"

    assert pod_facts(body).attempt == 0


def test_a_job_is_read_with_its_model() -> None:
    job = a_job(requestId="order-1", timeouts={"executionSeconds": 5})

    assert (job.uid, job.namespace, job.name, job.generation) == (JOB_UID, "team-a", "sales", 1)
    assert (job.resource_version, job.deleting, job.created) == ("10", False, CREATED)
    assert job.request_id == "order-1"
    assert job.model is not None
    assert job.model.spec.timeouts is not None
    assert job.model.spec.timeouts.execution_seconds == 5


def test_the_default_request_id_is_the_uid() -> None:
    assert a_job().request_id == JOB_UID


def test_an_invalid_spec_is_a_fact_with_the_place_of_the_fault() -> None:
    job = a_job(code={"inline": 5}, timeouts={"executionSeconds": 0})

    assert job.model is None
    assert job.error == (
        "spec.code.inline: Input should be a valid string; "
        "spec.timeouts.executionSeconds: Input should be greater than or equal to 1"
    )
    assert job.request_id == JOB_UID


def test_a_status_of_a_newer_operator_does_not_make_a_job_invalid() -> None:
    assert a_job(status={"later": True}).model is not None


@pytest.mark.parametrize(
    ("status", "finished", "undelivered"),
    [
        ({}, False, False),
        ({"phase": "Running"}, False, False),
        ({"phase": "Running", "delivery": {"state": "Pending"}}, False, False),
        ({"phase": "Succeeded"}, True, False),
        ({"phase": "Failed", "delivery": None}, True, False),
        ({"phase": "Failed", "delivery": {"state": "Pending"}}, True, True),
        ({"phase": "Succeeded", "delivery": {"state": "Delivered"}}, True, False),
        ({"phase": "Succeeded", "delivery": {"state": "Conflict"}}, True, False),
    ],
)
def test_a_job_is_finished_by_its_phase_and_undelivered_by_its_delivery(
    status: dict[str, object], finished: bool, undelivered: bool
) -> None:
    job = a_job(status=status)

    assert (job.finished, job.undelivered) == (finished, undelivered)


def test_a_job_under_deletion_says_so() -> None:
    assert job_facts(a_job_body(deleting=True)).deleting


@pytest.mark.parametrize(
    ("text", "want"),
    [
        (CREATED_TEXT, CREATED),
        ("2025-10-09T08:53:20.250Z", CREATED + 0.25),
        (None, None),
        ("", None),
    ],
)
def test_timestamps_become_seconds(text: str | None, want: float | None) -> None:
    assert seconds(text) == want
