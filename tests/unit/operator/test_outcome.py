"""From the facts of an ended attempt to its result."""

import pytest

from nanogrid import wire
from nanogrid.reasons import CHILD_OOM_KILLED, Reason
from nanogrid.types import Json
from nanogrid_operator.decision.outcome import (
    Outcome,
    failure,
    from_report,
    sandbox_lost,
    sync_failure,
)
from nanogrid_operator.model.pod_facts import Ended, Pod
from support.builders import (
    JOB_UID,
    MIB,
    a_failed_result,
    a_job,
    a_lost_result,
    a_report,
    a_result,
    a_running_pod,
    ended,
)


def checked(pod: Pod | None, result: wire.Result) -> tuple[str, str, int | None]:
    end = from_report(a_job(), pod, a_report(result))
    assert (end.result.reason, end.result.message) == (end.reason.value, end.message)
    return end.result.status, end.reason.value, end.result.exit_code


@pytest.mark.parametrize(
    ("result", "kubelet", "want"),
    [
        (a_result(), ended(0), ("SUCCESS", "Completed", 0)),
        (a_result(), ended(1), ("FAILED", "ResultMismatch", 0)),
        (a_result(), ended(137, "OOMKilled"), ("FAILED", "ResultMismatch", 0)),
        (a_failed_result(3), ended(0), ("FAILED", "ResultMismatch", 3)),
        (
            a_failed_result(137, reason="Signaled"),
            ended(137, "OOMKilled"),
            ("FAILED", "OOMKilled", 137),
        ),
        (
            a_failed_result(137, reason="OOMKilled"),
            ended(137, "OOMKilled"),
            ("FAILED", "OOMKilled", 137),
        ),
        # The kernel killed a child, and the code handled it; a shell passes on 137.
        (a_failed_result(1), ended(1, "OOMKilled"), ("FAILED", "NonZeroExit", 1)),
        (a_failed_result(137), ended(137, "OOMKilled"), ("FAILED", "OOMKilled", 137)),
        (a_failed_result(1), ended(137, "OOMKilled"), ("FAILED", "OOMKilled", 1)),
        (
            a_result(status="TIMEOUT", exit_code=143, reason="ExecutionTimeout"),
            ended(143),
            ("TIMEOUT", "ExecutionTimeout", 143),
        ),
        (a_failed_result(None, reason="EntrypointNotFound"), ended(127),
         ("FAILED", "EntrypointNotFound", None)),
    ],
)  # fmt: skip
def test_a_report_is_checked_against_the_kubelet(
    result: wire.Result, kubelet: Json, want: tuple[str, str, int | None]
) -> None:
    assert checked(a_running_pod(sandbox=kubelet), result) == want


def test_a_mismatch_names_both_exit_codes() -> None:
    end = from_report(a_job(), a_running_pod(sandbox=ended(9)), a_report())

    assert "reported exit code 0, the kubelet saw 9 (Error)" in end.message


def test_a_killed_child_process_is_named_once() -> None:
    pod = a_running_pod(sandbox=ended(1, "OOMKilled"))

    once = from_report(a_job(), pod, a_report(a_failed_result(1)))
    twice = from_report(a_job(), pod, a_report(once.result))

    assert CHILD_OOM_KILLED in once.message
    assert once.ours, "S3 has another message"
    assert (twice.result, twice.ours) == (once.result, False)


def test_a_success_without_a_pod_counts() -> None:
    assert checked(None, a_result()) == ("SUCCESS", "Completed", 0)


def test_a_corrected_result_keeps_the_output() -> None:
    pod = a_running_pod(sandbox=ended(137, "OOMKilled"))
    result = a_failed_result(137, reason="Signaled", stdout="합계", duration_millis=50)

    end = from_report(a_job(), pod, a_report(result))

    assert (end.result.stdout, end.result.duration_millis) == ("합계", 50)


def test_the_peak_of_a_killed_sandbox_without_a_measurement_is_its_limit() -> None:
    pod = a_running_pod(sandbox=ended(137, "OOMKilled"), memory="128Mi")

    result = sandbox_lost(a_job(), pod, a_report(a_lost_result(), final=False)).result

    assert (result.peak_memory_bytes, result.memory_source) == (128 * MIB, "limit")
    assert (result.exit_code, result.signal, result.reason) == (137, "SIGKILL", "OOMKilled")
    assert "raise the limit to 256Mi" in result.optimization_tip


def test_the_peak_in_megabytes_matches_the_bytes() -> None:
    pod = a_running_pod(sandbox=ended(137, "OOMKilled"), memory="128Mi")

    result = sandbox_lost(a_job(), pod, a_report(a_lost_result(), final=False)).result

    assert result.peak_memory_mb == 128


def test_a_measured_peak_is_kept() -> None:
    pod = a_running_pod(sandbox=ended(137, "OOMKilled"))
    result = a_lost_result(peak_memory_bytes=5, memory_source="cgroup2")

    end = sandbox_lost(a_job(), pod, a_report(result, final=False))

    assert (end.result.peak_memory_bytes, end.result.memory_source) == (5, "cgroup2")


def test_a_sync_that_ran_out_of_memory_names_the_setting() -> None:
    end = sync_failure(a_job(), Ended(137, "OOMKilled", ""))

    assert end.reason is Reason.SYNC_FAILED
    assert "it ran out of memory: raise the chart's sandbox.agent.memory" in end.message


def test_a_failure_has_the_ids_of_the_request() -> None:
    job = a_job(requestId="order-1", functionId="f")

    end = failure(job, Reason.POD_LOST, remove_pod=True)

    assert end == Outcome(
        reason=Reason.POD_LOST,
        message="The pod disappeared before it had a result. "
        "The pod or its node was deleted. Run the job again.",
        result=wire.blank_result(
            request_id="order-1",
            function_id="f",
            status="FAILED",
            reason="PodLost",
            job=wire.JobRef(namespace="team-a", name="sales", uid=JOB_UID),
            attempt=0,
            message=end.message,
        ),
        remove_pod=True,
    )
