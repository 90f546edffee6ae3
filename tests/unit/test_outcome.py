"""From what is known of an ended attempt to its result."""

import pytest

from nanogrid import wire
from nanogrid.reasons import CHILD_OOM_KILLED, Reason
from nanogrid_operator.facts import Ended, Pod
from nanogrid_operator.outcome import (
    Outcome,
    failure,
    from_report,
    read_report,
    sandbox_lost,
    sync_failure,
)
from unit.builders import (
    JOB_UID,
    MIB,
    Json,
    a_failed_result,
    a_job,
    a_lost_result,
    a_pod,
    a_report,
    a_result,
    a_running_pod,
    ended,
)


def told(pod: Pod | None, result: wire.Result) -> tuple[str, str, int | None]:
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
        # A child was killed, and the code made of it what it would; a shell passes 137 on.
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
def test_a_report_is_held_against_what_the_kubelet_saw(
    result: wire.Result, kubelet: Json, want: tuple[str, str, int | None]
) -> None:
    assert told(a_running_pod(sandbox=kubelet), result) == want


def test_a_mismatch_gives_both_numbers() -> None:
    end = from_report(a_job(), a_running_pod(sandbox=ended(9)), a_report())

    assert "reported exit code 0, the kubelet saw 9 (Error)" in end.message


def test_a_child_that_was_killed_for_memory_is_named_once() -> None:
    pod = a_running_pod(sandbox=ended(1, "OOMKilled"))

    once = from_report(a_job(), pod, a_report(a_failed_result(1)))
    twice = from_report(a_job(), pod, a_report(once.result))

    assert CHILD_OOM_KILLED in once.message
    assert once.ours, "S3 has other words"
    assert (twice.result, twice.ours) == (once.result, False)


def test_a_success_without_a_pod_is_believed() -> None:
    assert told(None, a_result()) == ("SUCCESS", "Completed", 0)


def test_what_the_code_printed_survives_a_correction() -> None:
    pod = a_running_pod(sandbox=ended(137, "OOMKilled"))
    result = a_failed_result(137, reason="Signaled", stdout="합계", duration_millis=50)

    end = from_report(a_job(), pod, a_report(result))

    assert (end.result.stdout, end.result.duration_millis) == ("합계", 50)


def test_memory_that_nobody_measured_was_at_least_the_limit_when_the_kernel_killed() -> None:
    pod = a_running_pod(sandbox=ended(137, "OOMKilled"), memory="128Mi")

    result = sandbox_lost(a_job(), pod, a_report(a_lost_result(), final=False)).result

    assert (result.peak_memory_bytes, result.memory_source) == (128 * MIB, "limit")
    assert (result.exit_code, result.signal, result.reason) == (137, "SIGKILL", "OOMKilled")


def test_and_megabytes_say_the_same_as_bytes() -> None:
    pod = a_running_pod(sandbox=ended(137, "OOMKilled"), memory="128Mi")

    result = sandbox_lost(a_job(), pod, a_report(a_lost_result(), final=False)).result

    assert result.peak_memory_mb == 128


def test_a_measured_peak_is_kept() -> None:
    pod = a_running_pod(sandbox=ended(137, "OOMKilled"))
    result = a_lost_result(peak_memory_bytes=5, memory_source="cgroup2")

    end = sandbox_lost(a_job(), pod, a_report(result, final=False))

    assert (end.result.peak_memory_bytes, end.result.memory_source) == (5, "cgroup2")


def test_a_sync_that_ran_out_of_memory_says_so() -> None:
    end = sync_failure(a_job(), Ended(137, "OOMKilled", ""))

    assert end.reason is Reason.SYNC_FAILED
    assert "it ran out of memory: raise the chart's sandbox.agent.memory" in end.message


@pytest.mark.parametrize("message", ["", "Traceback", "{}", '{"attempt":0}', "null"])
def test_a_termination_message_that_is_no_report_is_none(message: str) -> None:
    assert read_report(a_pod(agent=ended(0, "", message))) is None


def test_a_termination_message_that_is_a_report_is_read() -> None:
    assert read_report(a_pod(agent=ended(0, "", wire.dumps(a_report())))) == a_report()


def test_a_failure_echoes_what_the_caller_asked_for() -> None:
    job = a_job(requestId="order-1", functionId="f")

    end = failure(job, Reason.POD_LOST, remove_pod=True)

    assert end == Outcome(
        reason=Reason.POD_LOST,
        message="The pod vanished before it had a result. "
        "Somebody deleted it, or its node; run again.",
        result=wire.Result(
            request_id="order-1",
            function_id="f",
            status="FAILED",
            exit_code=None,
            stdout="",
            stderr="",
            duration_millis=0,
            peak_memory_bytes=None,
            peak_memory_mb=None,
            optimization_tip="",
            output_files=[],
            reason="PodLost",
            job=wire.JobRef(namespace="team-a", name="sales", uid=JOB_UID),
            message=end.message,
        ),
        remove_pod=True,
    )
