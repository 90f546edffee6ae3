"""Progress of a job on stderr."""

import sys
from typing import Any

import pytest

from nanogrid.cli.app import progress
from support.cli_fakes import ended, job


def test_plain_progress_prints_a_line_per_change(capsys: pytest.CaptureFixture[str]) -> None:
    waiting = job("j", "Pending", "ImagePullFailed")
    waiting["status"]["message"] = "no such image\nmore"
    with progress.Plain() as shown:
        for one in (job("j"), job("j"), waiting, job("j", "Running", "Executing"), ended("j")):
            shown.update(one)
        shown.note("a note")
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" s  ")[2] or line for line in lines] == [
        "waiting for the operator",
        "waiting for the pod: ImagePullFailed, no such image",
        "running",
        "a note",
    ]


def test_progress_depends_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(progress.make_progress(quiet=True), progress.Quiet)
    assert type(progress.make_progress(quiet=False)) is progress.Plain
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert type(progress.make_progress(quiet=False)) is progress.Live
    assert type(progress.make_progress(quiet=True)) is progress.Quiet


def test_the_live_line_keeps_only_notes(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "dumb")
    with progress.Live() as shown:
        shown.update(job("j", "Running", "Executing"))
        shown.note("uploaded [x]")
    assert "uploaded [x]" in capsys.readouterr().err


def test_the_summary_lists_phases_that_took_time() -> None:
    done = ended("j", status="FAILED", reason="OOMKilled")
    done["status"]["peakMemory"] = "256Mi/256Mi"
    done["status"]["timings"] = {
        "pendingMillis": 0,
        "syncMillis": 400,
        "executionMillis": 8200,
        "totalMillis": 9000,
    }
    expected = "j: Failed, OOMKilled in 9.0s (inputs 400ms, code 8.2s, memory 256Mi/256Mi)"
    assert progress.summary(done) == expected
    bare: dict[str, Any] = {"metadata": {"name": "j"}, "status": {"phase": "Succeeded"}}
    assert progress.summary(bare) == "j: Succeeded"


def test_the_live_line_has_the_memory_and_lines_of_a_log_do_not(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    uses = [job("j", "Running", "Executing") for _ in range(3)]
    uses[1]["status"] |= {"memory": "38Mi", "peakMemory": "41Mi/256Mi"}
    uses[2]["status"] |= {"memory": "64Mi"}
    monkeypatch.setenv("TERM", "dumb")
    shown = progress.Live()
    lines, starts = [], set()
    for use in uses:
        shown.update(use)
        task = shown._bar.tasks[0]
        lines.append(task.description)
        starts.add(task.start_time)
    assert lines == ["running", "running, memory 38Mi of 256Mi", "running, memory 64Mi"]
    assert len(starts) == 1, "the elapsed time is that of the phase"

    plain = progress.Plain()
    for use in uses:
        plain.update(use)
    assert capsys.readouterr().err.count("running") == 1
