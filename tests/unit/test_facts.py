"""What the operator reads from the API server's JSON."""

import pytest

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_operator.facts import Attempt, Container, Ended, Pod, job_facts, pod_facts, seconds
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
    an_attempt,
    ended,
    retrying,
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


def test_a_label_that_somebody_spoiled_does_not_stop_the_job() -> None:
    body = a_pod_body()
    body["metadata"]["labels"][names.LABEL_ATTEMPT] = "first"

    assert pod_facts(body).attempt == 0


@pytest.mark.parametrize(
    ("word", "want"),
    [
        ("PreemptionByScheduler", Reason.PREEMPTED),
        ("DeletionByTaintManager", Reason.NODE_LOST),
        ("DeletionByPodGC", Reason.NODE_LOST),
        ("EvictionByEvictionAPI", Reason.EVICTED),
        ("TerminationByKubelet", Reason.EVICTED),
        ("ReasonOfTomorrow", Reason.EVICTED),
        ("", None),
    ],
)
def test_a_disruption_has_our_reason(word: str, want: Reason | None) -> None:
    assert a_pod(disrupted=word).disruption is want


def test_a_disruption_that_did_not_come_is_none() -> None:
    body = a_pod_body(disrupted="PreemptionByScheduler")
    body["status"]["conditions"][1]["status"] = "False"

    assert pod_facts(body).disruption is None


def test_the_runtimes_check_is_a_container_too() -> None:
    assert a_pod(check=ended(127)).container("check-runtime").ended == Ended(127, "Error", "")


def test_when_a_container_ended_is_read() -> None:
    assert a_pod(sync=ended(0, age=80)).container("sync-input").ended == Ended(
        0, "Completed", "", CREATED + 80
    )


def test_when_a_deletion_is_over_is_read() -> None:
    assert (a_pod(deleting=True).gone_by, a_pod().gone_by) == (CREATED, None)


def test_attempts_that_have_ended_are_read_and_the_present_one_is_the_next() -> None:
    first = an_attempt(0, "OOMKilled", age=5, counted=False, exitCode=137, memoryLimit="256Mi")
    job = a_job(status=retrying(first, an_attempt(1, "PodRejected", age=9)))

    assert job.attempts == (
        Attempt(
            number=0,
            reason="OOMKilled",
            exit_code=137,
            counted=False,
            started=CREATED,
            ended=CREATED + 5,
        ),
        Attempt(
            number=1,
            reason="PodRejected",
            exit_code=None,
            counted=True,
            started=CREATED,
            ended=CREATED + 9,
        ),
    )
    assert (job.attempt, a_job().attempt) == (2, 0)


def test_attempts_that_were_dropped_from_a_long_list_do_not_start_again() -> None:
    assert a_job(status=retrying(an_attempt(7), an_attempt(8))).attempt == 9


@pytest.mark.parametrize(("text", "want"), [(CREATED_TEXT, CREATED), (None, None)])
def test_the_end_of_a_job_is_read(text: str | None, want: float | None) -> None:
    assert a_job(status={"completionTime": text}).completed == want


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
