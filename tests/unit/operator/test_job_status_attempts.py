"""The list of attempts and the progress in the status, and values for readers."""

import pytest

from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason
from nanogrid_operator.decision.outcome import failure, from_report
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.pod_facts import Pod
from nanogrid_operator.status.job import (
    final_status,
    human_millis,
    progress_status,
    retry_status,
)
from support.builders import (
    CREATED,
    CREATED_TEXT,
    JOB_UID,
    MIB,
    POD_NAME,
    a_failed_result,
    a_job,
    a_job_body,
    a_pod,
    a_report,
    a_result,
    a_running_pod,
    an_attempt,
    merge_patch,
    retrying,
)
from support.final_statuses import DELIVERED, NOW, NOW_TEXT, STATUS_SCHEMA, status_of

# Readable values.


@pytest.mark.parametrize(
    ("millis", "want"),
    [
        (0, "0ms"),
        (312, "312ms"),
        (999, "999ms"),
        (1000, "1.0s"),
        (8_240, "8.2s"),
        (60_000, "1m0s"),
        (200_500, "3m20s"),
        (7_260_000, "121m0s"),
        (59_960, "1m0s"),
    ],
)
def test_durations_are_readable(millis: int, want: str) -> None:
    assert human_millis(millis) == want


def test_times_have_the_format_of_kubernetes() -> None:
    assert timestamp(CREATED + 0.9) == CREATED_TEXT


# Attempts.


def test_a_retried_attempt_is_kept_with_its_memory() -> None:
    end = from_report(a_job(), None, a_report(a_failed_result(137, reason="OOMKilled")))
    before = {"phase": "Running", "podName": POD_NAME, "startTime": CREATED_TEXT}

    patch = retry_status(a_job(), a_running_pod(), end, False, False, NOW)
    status = merge_patch(before, patch)

    assert status == {
        "observedGeneration": 1,
        "phase": "Pending",
        "reason": "Retrying",
        "message": "Attempt 0 ended: Exit 3.",
        "start": "Cold",
        "requestId": JOB_UID,
        "startTime": CREATED_TEXT,
        "attempts": [
            {
                "number": 0,
                "podName": POD_NAME,
                "reason": "OOMKilled",
                "exitCode": 137,
                "memoryLimit": "256Mi",
                "peakMemoryBytes": 41 * MIB,
                "counted": False,
                "startTime": CREATED_TEXT,
                "completionTime": NOW_TEXT,
            }
        ],
    }
    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []


def test_a_suspended_attempt_suspends_the_job() -> None:
    end = failure(a_job(), Reason.SUSPENDED)

    status = retry_status(a_job(), a_pod(), end, False, True, NOW)

    assert (status["phase"], status["reason"]) == ("Suspended", "Suspended")
    assert [a["reason"] for a in status["attempts"]] == ["Suspended"]
    assert job_facts(a_job_body(status=status)).attempt == 1


def test_the_last_attempt_is_listed_like_earlier_ones() -> None:
    job = a_job(backoffLimit=1, status=retrying(an_attempt(0)))
    end = from_report(job, None, a_report(a_failed_result(3, attempt=1)))

    status = final_status(job, a_running_pod(attempt=1), end, DELIVERED, NOW)

    assert [(a["number"], a["reason"], a["counted"]) for a in status["attempts"]] == [
        (0, "NonZeroExit", True),
        (1, "NonZeroExit", True),
    ]


def test_an_attempt_without_a_pod_is_not_listed() -> None:
    job = a_job(cancel=True, backoffLimit=1, status=retrying(an_attempt(0)))

    status = final_status(job, None, failure(job, Reason.CANCELLED), DELIVERED, NOW)

    assert [a["number"] for a in status["attempts"]] == [0]


@pytest.mark.parametrize("reason", [Reason.COMPLETED, Reason.CANCELLED])
def test_a_success_or_a_stop_does_not_count_towards_the_limit(reason: Reason) -> None:
    result = a_result() if reason is Reason.COMPLETED else a_failed_result(143, reason="Cancelled")

    status = status_of(result, pod=a_running_pod())

    assert [a["counted"] for a in status["attempts"]] == [False]


# Progress.


@pytest.mark.parametrize("pod", [None, a_pod()], ids=["no pod", "a pod"])
def test_progress_names_the_pod_if_it_exists(pod: Pod | None) -> None:
    status = progress_status(a_job(), pod, Phase.PENDING, Reason.POD_REJECTED, "exceeded quota")

    named = {"podName": POD_NAME, "startTime": CREATED_TEXT, "start": "Cold"} if pod else {}
    assert status == {
        "observedGeneration": 1,
        "phase": "Pending",
        "reason": "PodRejected",
        "message": "exceeded quota",
        "requestId": JOB_UID,
        **named,
    }


def test_a_job_starts_with_its_first_pod() -> None:
    job = a_job(status={"startTime": CREATED_TEXT})

    status = progress_status(job, a_pod(age=100), Phase.RUNNING, Reason.EXECUTING, "")

    assert status["startTime"] == CREATED_TEXT
