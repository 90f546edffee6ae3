"""From an execution to its report, and the report cut to a termination message."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.support import make_task
from nanogrid import wire
from nanogrid.reasons import CHILD_OOM_KILLED, Reason
from nanogrid_executor import result
from nanogrid_executor.capture import Capture
from nanogrid_executor.execution import Execution, Exited, Started

MEGABYTE = 1024 * 1024
FILE = wire.OutputFile(
    path="차트/매출.png",
    url="s3://user-data/outputs/r-1/차트/매출.png",
    bytes=3,
    sha256="0" * 64,
    content_type="image/png",
)


def ended(**changes: Any) -> Exited:
    exited = Exited(
        exit_code=0,
        signal=None,
        timed_out=False,
        cancelled=False,
        oom_killed=False,
        duration_millis=1200,
        cpu_millis=300,
        peak_memory_bytes=20 * MEGABYTE + 1,
        memory_source="cgroup-v2",
        error=None,
    )
    return replace(exited, **changes)


KILLED = {"exit_code": 137, "signal": "SIGKILL"}
BAD = result.Stored(failed=["a.txt: HTTP status 503"])


@pytest.mark.parametrize(
    ("changes", "stored", "status", "reason"),
    [
        ({}, result.Stored(), "SUCCESS", Reason.COMPLETED),
        ({}, result.Stored(skipped=["x is a FIFO"]), "SUCCESS", Reason.COMPLETED),
        ({}, BAD, "FAILED", Reason.OUTPUT_UPLOAD_FAILED),
        ({"exit_code": 3}, BAD, "FAILED", Reason.NON_ZERO_EXIT),
        ({"exit_code": 139, "signal": "SIGSEGV"}, BAD, "FAILED", Reason.SIGNALED),
        ({**KILLED, "oom_killed": True}, BAD, "FAILED", Reason.OOM_KILLED),
        ({"exit_code": 1, "oom_killed": True}, BAD, "FAILED", Reason.NON_ZERO_EXIT),
        (KILLED, BAD, "FAILED", Reason.SIGNALED),
        ({**KILLED, "timed_out": True}, BAD, "TIMEOUT", Reason.EXECUTION_TIMEOUT),
        ({"timed_out": True}, BAD, "TIMEOUT", Reason.EXECUTION_TIMEOUT),
        ({"cancelled": True}, BAD, "FAILED", Reason.TERMINATED),
        ({"timed_out": True, "cancelled": True}, BAD, "TIMEOUT", Reason.EXECUTION_TIMEOUT),
        ({"exit_code": 127, "error": "x: not found"}, BAD, "FAILED", Reason.ENTRYPOINT_NOT_FOUND),
    ],
)
def test_verdict(
    changes: dict[str, Any], stored: result.Stored, status: str, reason: Reason
) -> None:
    verdict = result.judge(ended(**changes), stored, 30.0)
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize("oom_killed", [False, True])
def test_an_exit_after_a_childs_death_for_memory_says_so(oom_killed: bool) -> None:
    verdict = result.judge(ended(exit_code=1, oom_killed=oom_killed), result.Stored(), 30.0)

    assert (CHILD_OOM_KILLED in verdict.detail) is oom_killed


def test_a_complete_report() -> None:
    execution = Execution(started=Started(pid=7, start_millis=4), exited=ended())
    execution.stdout.feed("합계 157,685,452\n".encode())
    inputs = wire.InputReport(files=1, bytes=112_391, duration_millis=90, retries=0)
    stored = result.Stored([FILE], ["link is a symbolic link"], [], 15)
    report = result.build(make_task(function_id="f1"), execution, stored, inputs)
    got = report.result
    assert report.final
    assert report.inputs == inputs
    assert (got.status, got.exit_code, got.function_id) == ("SUCCESS", 0, "f1")
    assert got.stdout == "합계 157,685,452\n"
    assert (got.peak_memory_bytes, got.peak_memory_mb) == (20 * MEGABYTE + 1, 21)
    assert got.output_files == [FILE.url]
    assert got.message == "Outputs left out: link is a symbolic link."
    assert got.timings == wire.Timings(
        sync_millis=90, start_millis=4, execution_millis=1200, upload_millis=15
    )


def test_a_lost_sandbox_is_not_final() -> None:
    execution = Execution(lost="the launcher closed the connection")
    execution.stdout.feed(b"so far\n")
    report = result.build(make_task(), execution, result.Stored(), None)
    assert not report.final
    assert report.result.reason == "SandboxLost"
    assert (report.result.exit_code, report.result.stdout) == (None, "so far\n")


def test_a_message_names_failed_outputs_of_a_failed_run() -> None:
    execution = Execution(exited=ended(exit_code=3))
    report = result.build(make_task(), execution, BAD, None)
    assert "Exit code 3" in report.result.message
    assert "Outputs not stored: a.txt: HTTP status 503." in report.result.message


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=400)


@given(texts, texts, texts, st.integers(0, 300), st.integers(1, 400))
def test_any_report_fits_into_a_termination_message(
    stdout: str, stderr: str, message: str, files: int, repeat: int
) -> None:
    out, err = Capture(), Capture()
    out.feed((stdout * repeat).encode())
    err.feed((stderr * repeat).encode())
    execution = Execution(stdout=out, stderr=err, exited=ended(exit_code=1))
    stored = result.Stored([FILE] * files, failed=[message * 50])
    report = result.build(make_task(), execution, stored, None)
    text = result.to_termination(report)
    assert len(text.encode()) <= wire.TERMINATION_CAP_BYTES
    short = wire.loads(wire.Report, text)
    assert short.result.exit_code == 1
    assert short.result.stdout_bytes == out.count
    if len(wire.dumps(report).encode()) <= wire.TERMINATION_CAP_BYTES:
        assert short == report
    elif short.result.stdout != report.result.stdout:
        assert short.result.stdout_truncated


def test_long_names_still_fit() -> None:
    task = make_task(namespace="n" * 63, job="j" * 253, request_id="\x01" * 253)
    report = result.not_run(task, Reason.SYNC_FAILED, "\x01" * 5000)
    assert len(result.to_termination(report).encode()) <= wire.TERMINATION_CAP_BYTES


def test_thousands_of_presigned_urls_are_listed_in_part() -> None:
    file = replace(FILE, url="https://s3.example/" + "x" * 900)
    execution = Execution(exited=ended())
    stored = result.Stored([file] * 5000)
    report = result.build(make_task(), execution, stored, None)
    assert len(wire.dumps(report).encode()) < wire.REPORT_CAP_BYTES
    assert len(report.result.outputs) == len(report.result.output_files) == 312
    assert report.result.message == "Only 312 of 5000 stored outputs are listed."
    assert report.result.status == "SUCCESS"


def test_a_lost_sandbox_of_a_pod_that_was_stopped() -> None:
    report = result.build(make_task(), Execution(lost="gone"), result.Stored(), None, stopped=True)
    assert report.final
    assert (report.result.status, report.result.reason) == ("FAILED", "Terminated")
