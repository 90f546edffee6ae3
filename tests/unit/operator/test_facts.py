"""What the operator reads from the API server's JSON."""

import pytest

from nanogrid import names
from nanogrid.reasons import Reason
from nanogrid_operator.kube.objects import seconds
from nanogrid_operator.model.facts import Attempt, job_facts
from nanogrid_operator.model.pod_facts import Container, Ended, Pod, pod_facts
from support.builders import (
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


def test_all_facts_of_a_starting_pod_are_read() -> None:
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
        scheduled=True,
        memory_limit_bytes=256 * MIB,
        containers={
            "sync-input": Container(ended=Ended(0, "Completed", "")),
            "agent": Container(running=True, started_at=CREATED),
            "sandbox": Container(waiting_reason="ErrImagePull", waiting_message="no such image"),
        },
    )


def test_a_pod_without_a_status_is_pending_and_has_no_containers() -> None:
    body = a_pod_body()
    del body["status"]

    pod = pod_facts(body)

    assert (pod.phase, pod.containers, pod.over) == ("Pending", {}, False)
    assert pod.container("agent") == Container()


@pytest.mark.parametrize(
    ("phase", "over"), [("Running", False), ("Failed", True), ("Succeeded", True)]
)
def test_a_terminal_phase_means_that_the_pod_is_over(phase: str, over: bool) -> None:
    assert a_pod(phase=phase).over is over


def test_the_message_of_the_scheduler_is_kept() -> None:
    pod = a_pod(unschedulable="0/3 nodes are available: 3 Insufficient memory.")

    assert pod.unschedulable == "0/3 nodes are available: 3 Insufficient memory."


def test_a_scheduled_pod_has_no_message_of_the_scheduler() -> None:
    body = a_pod_body()
    body["status"]["conditions"][0]["message"] = "scheduled"

    assert pod_facts(body).unschedulable == ""


def test_the_memory_limit_is_that_of_the_sandbox() -> None:
    assert a_pod(memory="1Gi").memory_limit_bytes == 1024 * MIB


def test_a_very_large_memory_limit_can_be_read() -> None:
    assert a_pod(memory="1Pi").memory_limit_bytes == 2**50


def test_a_pod_without_a_memory_limit_has_none() -> None:
    body = a_pod_body()
    body["spec"]["containers"][1]["resources"] = {}

    assert pod_facts(body).memory_limit_bytes is None


def test_the_attempt_is_read_from_its_label() -> None:
    body = a_pod_body()
    body["metadata"]["labels"][names.LABEL_ATTEMPT] = "3"

    assert pod_facts(body).attempt == 3


def test_a_malformed_label_does_not_stop_the_job() -> None:
    body = a_pod_body()
    body["metadata"]["labels"][names.LABEL_ATTEMPT] = "first"

    assert pod_facts(body).attempt == 0


@pytest.mark.parametrize(
    ("condition", "want"),
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
def test_a_disruption_has_a_reason(condition: str, want: Reason | None) -> None:
    assert a_pod(disrupted=condition).disruption is want


def test_a_disruption_that_did_not_happen_has_no_reason() -> None:
    body = a_pod_body(disrupted="PreemptionByScheduler")
    body["status"]["conditions"][1]["status"] = "False"

    assert pod_facts(body).disruption is None


def test_the_runtime_check_is_a_container() -> None:
    assert a_pod(check=ended(127)).container("check-runtime").ended == Ended(127, "Error", "")


def test_the_end_time_of_a_container_is_read() -> None:
    assert a_pod(sync=ended(0, age=80)).container("sync-input").ended == Ended(
        0, "Completed", "", CREATED + 80
    )


def test_the_end_of_a_deletions_grace_is_read() -> None:
    assert (a_pod(deleting=True).gone_by, a_pod().gone_by) == (CREATED, None)


def test_ended_attempts_are_read_and_the_current_one_is_the_next() -> None:
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


def test_dropped_entries_of_a_long_list_do_not_restart_the_numbering() -> None:
    assert a_job(status=retrying(an_attempt(7), an_attempt(8))).attempt == 9


@pytest.mark.parametrize(("text", "want"), [(CREATED_TEXT, CREATED), (None, None)])
def test_the_end_time_of_a_job_is_read(text: str | None, want: float | None) -> None:
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


def test_an_invalid_spec_is_a_fact_that_names_the_fields() -> None:
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
def test_the_phase_decides_finished_and_the_delivery_decides_undelivered(
    status: dict[str, object], finished: bool, undelivered: bool
) -> None:
    job = a_job(status=status)

    assert (job.finished, job.undelivered) == (finished, undelivered)


def test_a_job_under_deletion_is_deleting() -> None:
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


SMALL = {"limits": {"cpu": "5m", "memory": "12Mi"}, "requests": {"cpu": 0}}


@pytest.mark.parametrize(
    ("phase", "reads"), [("", False), ("Pending", False), ("Syncing", True), ("Running", True)]
)
def test_an_upgrade_with_narrower_bounds_ends_nothing_that_has_its_pod(
    phase: str, reads: bool
) -> None:
    job = job_facts(a_job_body(resources=SMALL, status={"phase": phase} if phase else None))

    assert (job.spec is not None) == reads
    assert ("cpu is 10m at least" in job.error) != reads


def test_the_same_holds_for_what_a_function_gives() -> None:
    pinned = {"name": "f", "uid": "u", "version": 1, "resources": SMALL}
    pinned["s3"] = {"bucket": "code-bucket", "key": "f.zip", "sha256": "0" * 64}
    body = a_job_body(functionRef={"name": "f"}, resources={"limits": {"memory": "64Mi"}})
    del body["spec"]["code"]
    body["status"] = {"phase": "Running", "function": pinned}

    spec = job_facts(body).spec

    assert spec is not None
    assert spec.resources is not None
    assert spec.resources.limits is not None
    assert spec.resources.limits.amounts() == {"cpu": "5m", "memory": "64Mi"}
