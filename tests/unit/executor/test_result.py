"""From an execution to its report, and the report shortened to a termination message."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid import result_auth, wire
from nanogrid.reasons import CHILD_OOM_KILLED, Reason
from nanogrid_executor.agent import result
from nanogrid_executor.agent.execution import Execution, Exited, Started, read_exited
from nanogrid_executor.capture import Capture
from nanogrid_executor.outputs.stored import Stored
from support.s3_server import make_task

MEGABYTE = 1024 * 1024
KEY = "k" * 64
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
BAD = Stored(failed=["a.txt: HTTP status 503"])


@pytest.mark.parametrize(
    ("changes", "stored", "status", "reason"),
    [
        ({}, Stored(), "SUCCESS", Reason.COMPLETED),
        ({}, Stored(skipped=["x is a FIFO"]), "SUCCESS", Reason.COMPLETED),
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
        (
            {"exit_code": 126, "error": "x", "error_cause": "unheard of"},
            BAD,
            "FAILED",
            Reason.ENTRYPOINT_NOT_FOUND,
        ),
        (
            {"exit_code": 126, "error": "x", "error_cause": "refused"},
            BAD,
            "FAILED",
            Reason.PROCESS_REFUSED,
        ),
    ],
)
def test_verdict(changes: dict[str, Any], stored: Stored, status: str, reason: Reason) -> None:
    verdict = result.judge(ended(**changes), stored, 30.0, stopped=True)
    assert (verdict.status, verdict.reason) == (status, reason)


@pytest.mark.parametrize("oom_killed", [False, True])
def test_an_exit_after_an_oom_kill_of_a_child_mentions_it(oom_killed: bool) -> None:
    exited = ended(exit_code=1, oom_killed=oom_killed)
    verdict = result.judge(exited, Stored(), 30.0, stopped=False)

    assert (CHILD_OOM_KILLED in verdict.detail) is oom_killed


@pytest.mark.parametrize("code", [0, 143])
def test_a_stop_that_only_the_launcher_got_is_no_termination(code: int) -> None:
    verdict = result.judge(ended(cancelled=True, exit_code=code), Stored(), 30.0, stopped=False)

    assert (verdict.status, verdict.reason) == ("FAILED", Reason.SIGNALED)


def test_a_complete_report() -> None:
    execution = Execution(started=Started(pid=7, start_millis=4), exited=ended())
    execution.stdout.feed("합계 157,685,452\n".encode())
    inputs = wire.InputReport(files=1, bytes=112_391, duration_millis=90, retries=0)
    stored = Stored(files=[FILE], skipped=["link is a symbolic link"], millis=15)
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


def test_a_report_says_what_the_patterns_left_out() -> None:
    note = "2 files match no include pattern: a, b."
    report = result.build(make_task(), Execution(exited=ended()), Stored(note=note), None)
    assert (report.result.status, report.result.outputs_note) == ("SUCCESS", note)
    assert report.result.message == note
    text = result.to_termination(report, "k" * 64)
    assert wire.loads(wire.Report, text).result.outputs_note == note


def test_a_lost_sandbox_is_not_final() -> None:
    execution = Execution(lost="the launcher closed the connection")
    execution.stdout.feed(b"so far\n")
    report = result.build(make_task(), execution, Stored(), None)
    assert not report.final
    assert report.result.reason == "SandboxLost"
    assert (report.result.exit_code, report.result.stdout) == (None, "so far\n")


def test_the_message_of_a_failed_run_names_failed_outputs() -> None:
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
    stored = Stored(files=[FILE] * files, failed=[message * 50])
    report = result.build(make_task(), execution, stored, None)
    text = result.to_termination(report, KEY)
    assert len(text.encode()) <= wire.TERMINATION_CAP_BYTES
    short = wire.loads(wire.Report, text)
    assert short.result.exit_code == 1
    assert short.result.stdout_bytes == out.count
    assert result_auth.verify(json.loads(text)["result"], KEY), "the short copy has its own code"
    signed = result_auth.sign_report(report, KEY)
    if len(wire.dumps(signed).encode()) <= wire.TERMINATION_CAP_BYTES:
        assert short == signed
    elif short.result.stdout != report.result.stdout:
        assert short.result.stdout_truncated


HOSTILE = {
    "exitCode": 2**70,
    "signal": "S" * 900_000,
    "timedOut": False,
    "cancelled": False,
    "oomKilled": False,
    "durationMillis": -(10**30),
    "cpuMillis": 10**30,
    "peakMemoryBytes": 10**30,
    "memorySource": "\x01" * 900_000,
    "error": None,
}


def test_a_hostile_end_is_within_its_bounds() -> None:
    exited = read_exited(json.dumps(HOSTILE).encode())

    assert (exited.exit_code, exited.signal) == (255, "SIGUNKNOWN")
    assert (exited.duration_millis, exited.peak_memory_bytes) == (0, 2**53 - 1)
    task = make_task(namespace="n" * 63, job="j" * 253, request_id="r" * 63)
    report = result.build(task, Execution(exited=exited), Stored(), None)
    assert report.result.reason == "Signaled"
    assert len(result.to_termination(report, "k" * 64).encode()) <= wire.TERMINATION_CAP_BYTES


def test_an_honest_end_is_unchanged() -> None:
    honest = ended(exit_code=137, signal="SIGRTMIN", error="x: not found")

    assert read_exited(wire.dumps(honest).encode()) == honest


def test_long_names_still_fit() -> None:
    task = make_task(namespace="n" * 63, job="j" * 253, request_id="\x01" * 253)
    report = result.not_run(task, Reason.SYNC_FAILED, "\x01" * 5000)
    assert len(result.to_termination(report, KEY).encode()) <= wire.TERMINATION_CAP_BYTES


def test_only_some_of_thousands_of_presigned_urls_are_listed() -> None:
    file = replace(FILE, url="https://s3.example/" + "x" * 900)
    execution = Execution(exited=ended())
    stored = Stored(files=[file] * 5000)
    report = result.build(make_task(), execution, stored, None)
    assert len(wire.dumps(report).encode()) < wire.REPORT_CAP_BYTES
    assert len(report.result.outputs) == len(report.result.output_files) == 312
    assert report.result.message == "Only 312 of 5000 stored outputs are listed."
    assert report.result.output_bytes == 5000 * FILE.bytes
    assert report.result.status == "SUCCESS"


def test_a_lost_sandbox_of_a_stopped_pod_is_final() -> None:
    report = result.build(make_task(), Execution(lost="gone"), Stored(), None, stopped=True)
    assert report.final
    assert (report.result.status, report.result.reason) == ("FAILED", "Terminated")
