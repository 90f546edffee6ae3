"""``list`` and its filters, ``get``, and jobs that have no output."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from nanogrid.cli.app.exits import Exit
from nanogrid.client.errors import InvalidRequest
from nanogrid.client.jobs.selection import phase_named
from nanogrid.job_function import function_of
from nanogrid.lifecycle import Phase
from nanogrid.reasons import HELP, Reason, sentence
from nanogrid.types import Json
from support.cli_fakes import ended, job
from support.cli_terminal import Terminal

HOUR = 3600.0


def aged(found: Json, seconds: float, **labels: str) -> Json:
    """A job created some time ago, with labels."""
    at = datetime.fromtimestamp(time.time() - seconds, UTC)
    found["metadata"] |= {"creationTimestamp": at.strftime("%Y-%m-%dT%H:%M:%SZ"), "labels": labels}
    return found


def never_ran(name: str, reason: Reason, detail: str = "") -> Json:
    found = job(name, "Failed", reason.value)
    found["status"]["message"] = sentence(reason, detail)
    return found


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """A cluster with four jobs of different age and phase."""
    terminal.cluster.add(
        aged(ended("old"), 5 * HOUR),
        aged(job("new"), 60),
        aged(job("busy", "Running", "Executing", functionRef={"name": "report"}), 2 * HOUR),
        aged(ended("bad", status="FAILED", reason="NonZeroExit", exitCode=3), HOUR / 2),
    )
    return terminal


def listed(terminal: Terminal, *args: str) -> list[str]:
    done = terminal.run("list", "-o", "json", *args)
    assert done.exit_code == 0, done.output
    return [one["metadata"]["name"] for one in json.loads(done.stdout)]


def test_the_newest_job_comes_first(terminal: Terminal) -> None:
    assert listed(terminal) == ["new", "bad", "busy", "old"]
    assert listed(terminal, "--limit", "2") == ["new", "bad"]
    rows = terminal.run("list").stdout.splitlines()
    assert [row.split()[0] for row in rows] == ["NAME", "new", "bad", "busy", "old"]


def test_jobs_of_one_second_are_in_the_order_of_their_names(terminal: Terminal) -> None:
    terminal.cluster.add(*(aged(job(name), 10) for name in "cab"))
    assert listed(terminal, "--since", "30s") == ["a", "b", "c"]


@pytest.mark.parametrize("phase", ["running", "Running", "RUNNING"])
def test_a_phase_is_found_in_upper_and_lower_case(terminal: Terminal, phase: str) -> None:
    assert listed(terminal, "--phase", phase) == ["busy"]


def test_a_job_that_the_operator_has_not_seen_is_pending(terminal: Terminal) -> None:
    assert listed(terminal, "--phase", "pending") == ["new"]


@pytest.mark.parametrize("phase", ["runing", "", "Completed", "all"])
def test_an_unknown_phase_is_an_error_that_lists_the_phases(terminal: Terminal, phase: str) -> None:
    done = terminal.run("list", "--phase", phase)
    assert (done.exit_code, done.stdout) == (Exit.USAGE, "")
    assert all(one.value.lower() in done.stderr.lower() for one in Phase)
    with pytest.raises(InvalidRequest, match=r"no phase") as caught:
        terminal.make_client(terminal_context(terminal), None).list(phase=phase)
    assert "Suspended" in caught.value.hint


def terminal_context(terminal: Terminal) -> Any:
    terminal.run("list")
    return terminal.contexts[-1][1]


@pytest.mark.parametrize("phase", Phase)
def test_every_phase_has_its_name_in_any_case(phase: Phase) -> None:
    assert {phase_named(text) for text in (phase.value, phase.value.upper())} == {phase}


def test_filters_by_time_function_and_labels(terminal: Terminal) -> None:
    assert listed(terminal, "--since", "1h") == ["new", "bad"]
    assert listed(terminal, "--function", "report") == ["busy"]
    assert listed(terminal, "--function", "report", "--phase", "failed") == []
    asked: list[str] = []
    terminal.cluster.list = lambda path, labels="", fields="": asked.append(labels) or []  # type: ignore[method-assign,assignment,func-returns-value]
    assert listed(terminal, "-l", "app=report,tier!=x") == []
    assert asked == ["app=report,tier!=x"]


@pytest.mark.parametrize(
    ("spec", "labels", "function"),
    [
        ({"functionRef": {"name": "a"}}, {}, "a"),
        ({"functionId": "b"}, {}, "b"),
        ({}, {"nanogrid.io/function": "c"}, "c"),
        ({}, {}, None),
    ],
)
def test_the_function_of_a_job(spec: Json, labels: Json, function: str | None) -> None:
    assert function_of({"metadata": {"labels": labels}, "spec": spec}) == function


def test_an_empty_answer_says_whether_filters_were_used(terminal: Terminal) -> None:
    done = terminal.run("list", "--phase", "suspended")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "no jobs in jobs match these filters\n"
    terminal.cluster.objects.clear()
    assert terminal.run("list").stderr == "no jobs in jobs\n"


def test_watch_uses_the_same_filters(terminal: Terminal) -> None:
    jobs = terminal.cluster.list(terminal.cluster.jobs_path())
    for one in jobs:
        one["metadata"]["managedFields"] = [{"manager": "x"}]
    watched: list[str] = []

    def watch(path: str, labels: str = "", **_: Any) -> Any:
        watched.append(labels)
        return iter([{"type": "ADDED", "object": one} for one in jobs])

    terminal.cluster.watch = watch  # type: ignore[method-assign]
    done = terminal.run("list", "-w", "--phase", "pending", "-l", "a=b", "-o", "json")
    (event,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert (event["object"]["metadata"]["name"], watched) == ("new", ["a=b"])
    assert "managedFields" not in event["object"]["metadata"]
    assert terminal.run("list", "-w", "--limit", "1").exit_code == Exit.USAGE


def test_wide_shows_what_kubectl_shows_as_well(terminal: Terminal) -> None:
    found = aged(ended("wide"), 1)
    found["status"] |= {"podName": "wide-0", "requestId": "r-9", "inputs": {"files": 7, "bytes": 9}}
    found["status"]["memory"] = "38Mi"
    terminal.cluster.add(found)
    head, first = [
        row.split() for row in terminal.run("list", "-o", "wide").stdout.splitlines()[:2]
    ]
    assert head[-4:] == ["POD", "FILES", "REQUEST", "MEMORY"]
    assert first[-4:] == ["wide-0", "7", "r-9", "38Mi"]
    assert "POD" not in terminal.run("list").stdout


def test_get_shows_the_exit_code_and_wide_shows_the_spec(terminal: Terminal) -> None:
    found = ended("killed", status="FAILED", reason="Signaled", exitCode=139, signal="SIGSEGV")
    found["spec"] |= {
        "resources": {"limits": {"memory": "64Mi"}},
        "runtime": {"image": "registry/x:1"},
        "args": ["--month", "10"],
        "backoffLimit": 2,
    }
    terminal.cluster.add(found)
    card = terminal.run("get", "killed").stdout
    assert "exit code   139, signal SIGSEGV\n" in card
    wide = terminal.run("get", "killed", "-o", "wide").stdout
    assert wide.startswith(card.partition("age ")[0])
    for text in ("memory 64Mi", "registry/x:1", "--month 10", "retries     2"):
        assert text in wide
        assert text not in card
    assert "exit code   0\n" in terminal.run("get", "old").stdout
    assert "exit code" not in terminal.run("get", "new").stdout


@pytest.mark.parametrize("command", [["get", "a"], ["list"]])
def test_data_has_no_managed_fields(terminal: Terminal, command: list[str]) -> None:
    found = ended("a")
    found["metadata"]["managedFields"] = [{"manager": "nanogrid-client"}]
    terminal.cluster.objects.clear()
    terminal.cluster.add(found)
    for output, load in (("yaml", yaml.safe_load), ("json", json.loads)):
        text = terminal.run(*command, "-o", output).stdout
        assert "managedFields" not in text
        assert load(text)
    assert "managedFields" in found["metadata"]


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        (Reason.IMAGE_PULL_FAILED, "sandbox: not found"),
        (Reason.INPUT_NOT_FOUND, "s3://b/k"),
        (Reason.INVALID_SPEC, "two of them"),
        (Reason.UNSCHEDULABLE, "0/3 nodes"),
        (Reason.CANCELLED, ""),
    ],
)
@pytest.mark.parametrize("command", [["logs"], ["outputs", "ls"], ["outputs", "get"]])
def test_a_job_that_never_ran_says_why(
    terminal: Terminal, command: list[str], reason: Reason, detail: str
) -> None:
    terminal.cluster.add(never_ran("never", reason, detail))
    terminal.cluster.pod_log = lambda *_, **__: iter(())  # type: ignore[method-assign,assignment]
    done = terminal.run(*command, "never")
    assert (done.exit_code, done.stdout) == (Exit.FAILED, "")
    cancelled = "It was stopped before its code printed anything."
    meaning = cancelled if reason is Reason.CANCELLED else HELP[reason].meaning
    assert f"error: never has no output: {reason.value}. {meaning}" in done.stderr
    assert detail in done.stderr
    assert "hint: " in done.stderr


@pytest.mark.parametrize("command", [["logs"], ["outputs", "ls"], ["outputs", "get"]])
def test_a_job_that_waits_says_for_what(terminal: Terminal, command: list[str]) -> None:
    waiting = job("waits", "Pending", "Unschedulable")
    terminal.cluster.add(waiting)
    done = terminal.run(*command, "waits")
    assert (done.exit_code, done.stdout) == (Exit.FAILED, "")
    assert "waits has not started (Pending, Unschedulable). No node has room" in done.stderr
    assert "nanogrid logs -f waits" in done.stderr
    assert "not processed" in terminal.run(*command, "new").stderr


def test_code_that_ran_and_printed_nothing_is_no_error(terminal: Terminal) -> None:
    terminal.cluster.add(ended("quiet", stdout=""))
    done = terminal.run("logs", "quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert "wrote no files" in terminal.run("outputs", "ls", "quiet").stderr
    assert "wrote no files" in terminal.run("outputs", "get", "quiet").stderr


def test_outputs_that_were_not_stored_are_not_called_missing(terminal: Terminal) -> None:
    failed = ended("full", status="FAILED", reason="OutputUploadFailed", message="S3 is full.")
    terminal.cluster.add(failed)
    done = terminal.run("outputs", "ls", "full")
    assert "no outputs are stored: S3 is full." in done.stderr
