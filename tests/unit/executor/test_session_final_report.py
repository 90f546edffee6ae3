"""The final report of a session."""

import pytest

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent.result import to_termination
from nanogrid_executor.outputs.stored import Stored
from nanogrid_executor.session.final_report import SessionTotals, build
from support.session_fakes import session_task

ANSWER = {
    "stdout": "s" * 9000,
    "stderr": "",
    "stdoutTruncated": False,
    "stdoutEncoding": "utf-8",
    "stderrEncoding": "binary",
    "stderrTruncated": False,
    "memorySource": "cgroup",
}


def report_of(reason: Reason, stored: Stored, unrecorded: int = 0) -> wire.Report:
    totals = SessionTotals(
        last=ANSWER,
        executions=16,
        unrecorded=unrecorded,
        seconds=12.5,
        cpu_millis=40,
        peak_memory_bytes=5 << 20,
    )
    return build(session_task(), reason, stored, None, totals)


@pytest.mark.parametrize(
    "reason",
    [Reason.IDLE_TIMEOUT, Reason.LIFETIME_EXCEEDED, Reason.EXECUTION_LIMIT, Reason.SESSION_ENDED],
)
def test_a_session_that_reaches_its_limits_succeeds(reason: Reason) -> None:
    result = report_of(reason, Stored()).result
    assert (result.status, result.exit_code, result.reason) == ("SUCCESS", 0, reason.value)
    assert (result.duration_millis, result.stdout) == (12_500, "s" * 9000)
    assert (result.peak_memory_mb, result.memory_source) == (5, "cgroup")
    assert "16" in result.message


def test_a_session_with_lost_artifacts_fails() -> None:
    result = report_of(Reason.IDLE_TIMEOUT, Stored(failed=["a.png: S3 is away"]), 2).result
    assert (result.status, result.reason) == ("FAILED", "OutputUploadFailed")
    assert "a.png" in result.message
    assert "IdleTimeout" in result.message
    assert "Records not stored: 2" in result.message


def test_a_session_says_which_artifacts_its_patterns_left_out() -> None:
    note = "1 file matches no include pattern: a.png."
    result = report_of(Reason.IDLE_TIMEOUT, Stored(note=note)).result
    assert (result.status, result.outputs_note) == ("SUCCESS", note)
    assert result.message.endswith(f"Executions: 16. {note}")


def test_a_stopped_session_fails_and_its_report_fits_a_termination_message() -> None:
    report = report_of(Reason.TERMINATED, Stored())
    assert (report.result.status, report.result.reason) == ("FAILED", "Terminated")
    assert len(to_termination(report, "k" * 64).encode()) <= wire.TERMINATION_CAP_BYTES


def test_a_session_without_executions_has_no_usage() -> None:
    totals = SessionTotals(
        last=None, executions=0, unrecorded=0, seconds=1, cpu_millis=None, peak_memory_bytes=None
    )
    result = build(session_task(), Reason.IDLE_TIMEOUT, Stored(), None, totals).result
    assert (result.stdout, result.stdout_bytes, result.memory_source) == ("", 0, None)
    assert (result.peak_memory_mb, result.optimization_tip) == (None, "")
