"""The commands ``run`` and its output, exit codes and errors."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from nanogrid.cli.app.exits import Exit
from nanogrid.client.errors import Forbidden, NotConfigured, Unreachable
from nanogrid.types import Json
from support.cli_fakes import ended
from support.cli_terminal import Terminal


def test_run_prints_the_codes_stdout_and_notes_on_stderr(terminal: Terminal) -> None:
    done = terminal.run("run", "-c", "print('hello')")
    assert (done.exit_code, done.stdout) == (0, "hello\n")
    assert "Succeeded" in done.stderr
    (created,) = terminal.cluster.created
    assert created["spec"]["code"] == {"inline": "print('hello')"}
    assert created["spec"]["ttlSecondsAfterFinished"]


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"status": "FAILED", "reason": "NonZeroExit", "exitCode": 3}, 3),
        ({"status": "FAILED", "reason": "Signaled", "exitCode": 139}, 139),
        ({"status": "TIMEOUT", "reason": "ExecutionTimeout", "exitCode": 143}, Exit.TIMEOUT),
        ({"status": "FAILED", "reason": "DeadlineExceeded", "exitCode": None}, Exit.TIMEOUT),
        ({"status": "FAILED", "reason": "Cancelled", "exitCode": 143}, Exit.CANCELLED),
        ({"status": "FAILED", "reason": "OOMKilled", "exitCode": 137}, Exit.OOM),
        ({"status": "FAILED", "reason": "InputNotFound", "exitCode": None}, Exit.INFRASTRUCTURE),
        ({"status": "FAILED", "reason": "OutputUploadFailed", "exitCode": 0}, Exit.INFRASTRUCTURE),
        ({"status": "FAILED", "reason": "OfANewerRelease", "exitCode": 0}, Exit.INFRASTRUCTURE),
    ],
)
def test_the_exit_code_of_run(terminal: Terminal, result: Json, code: int) -> None:
    terminal.cluster.ends = result | {"message": "something happened", "stderr": "oops\n"}
    done = terminal.run("run", "-c", "x")
    assert done.exit_code == code
    assert "oops\n" in done.stderr
    assert "error: something happened" in done.stderr


def test_with_json_stdout_is_one_document_and_stderr_is_empty(terminal: Terminal) -> None:
    terminal.cluster.ends = {"status": "FAILED", "reason": "NonZeroExit", "exitCode": 4}
    done = terminal.run("run", "-c", "x", "-o", "json")
    assert (done.exit_code, done.stderr) == (4, "")
    assert json.loads(done.stdout)["reason"] == "NonZeroExit"
    assert yaml.safe_load(terminal.run("run", "-c", "x", "-o", "yaml").stdout)["exitCode"] == 4


def test_code_from_stdin_and_arguments(terminal: Terminal) -> None:
    assert terminal.run("run", "-", "--", "a", "-b", stdin="print(1)").exit_code == 0
    assert terminal.run("run", "-c", "print(2)", "--", "c").exit_code == 0
    first, second = terminal.cluster.created
    assert (first["spec"]["code"]["inline"], first["spec"]["args"]) == ("print(1)", ["a", "-b"])
    assert (second["spec"]["code"]["inline"], second["spec"]["args"]) == ("print(2)", ["c"])


def test_local_files_are_uploaded_first(terminal: Terminal, tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("print(1)")
    done = terminal.run("run", str(tmp_path), "-i", f"d={tmp_path}", "-i", f"{tmp_path}/main.py")
    assert done.exit_code == 0
    assert terminal.clients[0].uploads == [str(tmp_path), f"{tmp_path}/main.py", str(tmp_path)]
    spec = terminal.cluster.created[0]["spec"]
    assert spec["code"]["s3"] == {"bucket": "bucket", "key": "uploads/x", "sha256": "a" * 64}
    folder, file = spec["inputs"]
    assert folder["unpack"] is True
    assert "unpack" not in file


def test_detach_prints_the_name_and_does_not_wait(terminal: Terminal) -> None:
    terminal.cluster.interrupt = True  # a wait would raise
    done = terminal.run("run", "-c", "x", "--detach", "--name", "mine")
    assert (done.exit_code, done.stdout) == (0, "mine\n")
    done = terminal.run("run", "-c", "x", "-d", "--name", "other", "-o", "name")
    assert done.stdout == "executionjob.nanogrid.io/other\n"


def test_ctrl_c_keeps_the_job_and_prints_how_to_follow_it(terminal: Terminal) -> None:
    terminal.cluster.interrupt = True
    done = terminal.run("run", "-c", "x", "--name", "mine", "-n", "jobs")
    assert (done.exit_code, done.stdout) == (Exit.CANCELLED, "")
    assert "mine continues" in done.stderr
    assert "nanogrid logs -f mine -n jobs" in done.stderr
    assert "nanogrid cancel mine -n jobs" in done.stderr
    assert terminal.cluster.patches == []
    assert terminal.cluster.deleted == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Unreachable(0, "Timeout", "no response."), Exit.UNREACHABLE),
        (NotConfigured("nothing to connect to."), Exit.UNREACHABLE),
        (Forbidden(403, "Forbidden", "you cannot."), Exit.FORBIDDEN),
        (PermissionError(13, "Permission denied", "/x"), Exit.FAILED),
    ],
)
def test_errors_of_the_cluster(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch, error: Exception, code: int
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(terminal.cluster, "list", fail)
    done = terminal.run("list")
    assert done.exit_code == code
    assert done.stderr.startswith("error: ")
    assert "hint: " in done.stderr
    assert terminal.run("get", "absent").exit_code == Exit.FAILED


def test_a_bug_is_not_hidden(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(terminal.cluster, "list", fail)
    assert isinstance(terminal.run("list").exception, ZeroDivisionError)


def test_a_closed_pipe_is_no_error(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise BrokenPipeError

    terminal.cluster.add(ended("a"))
    monkeypatch.setattr("nanogrid.cli.listing.emit", fail)
    monkeypatch.setattr("nanogrid.cli.app.errors._discard_stdout", lambda: None)
    done = terminal.run("list")
    assert (done.exit_code, done.output) == (Exit.BROKEN_PIPE, "")


def test_a_job_belongs_to_the_trace_of_the_environment(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    monkeypatch.delenv("TRACEPARENT", raising=False)
    assert terminal.run("run", "-c", "x").exit_code == 0
    monkeypatch.setenv("TRACEPARENT", parent)
    monkeypatch.setenv("TRACESTATE", "ci=1")
    assert terminal.run("run", "-c", "x").exit_code == 0

    plain, traced = (job["metadata"]["annotations"] for job in terminal.cluster.created)
    assert traced["nanogrid.io/tracestate"] == "ci=1"
    # If this process has imported OpenTelemetry, the client has a span of its own in between.
    assert traced["nanogrid.io/traceparent"].startswith(parent[:36])
    assert "nanogrid.io/traceparent" not in plain
