"""``delete``: jobs by name or by filters, after confirmation."""

import json
import time
from datetime import UTC, datetime
from typing import Any

import pytest

from nanogrid.cli.app.exits import Exit
from nanogrid.client.errors import ApiError, Conflict, Forbidden, NotFound
from nanogrid.types import Json
from support.cli_fakes import FakeCluster, ended, job
from support.cli_terminal import Terminal

HOUR = 3600.0


def ago(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() - seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def done_at(name: str, seconds: float, **changes: Any) -> Json:
    """A job that ended some time ago. It was created a day before."""
    found = ended(name, **changes)
    found["metadata"]["creationTimestamp"] = ago(seconds + 24 * HOUR)
    found["status"]["completionTime"] = ago(seconds)
    return found


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """A cluster with ended, running and waiting jobs."""
    terminal.cluster.add(
        done_at("old", 30 * HOUR),
        done_at("fresh", HOUR),
        done_at("bad", 50 * HOUR, status="FAILED", reason="NonZeroExit", exitCode=1),
        job("busy", "Running", "Executing"),
        job("waits"),
    )
    return terminal


@pytest.fixture
def cluster(terminal: Terminal) -> FakeCluster:
    return terminal.cluster


def deleted(cluster: FakeCluster) -> list[str]:
    """The names of the deleted jobs, each with the uid that was listed."""
    base = f"{cluster.jobs_path()}/"
    found = [one.removeprefix(base).split("#") for one in cluster.deleted]
    assert all(uid == f"uid-{name}" for name, uid in found)
    return sorted(name for name, _ in found)


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("old", ["old"]),
        ("old busy old", ["busy", "old"]),
        ("@latest", ["waits"]),
        ("--older 1d", ["bad", "old"]),
        ("--older 40h", ["bad"]),
        ("--older 30m", ["bad", "fresh", "old"]),
        ("--phase failed", ["bad"]),
        ("--phase SUCCEEDED --older 1d", ["old"]),
        ("--phase running", ["busy"]),
        ("--phase pending", ["waits"]),
        ("-l app=x", ["bad", "fresh", "old"]),
        ("--function report", []),
        ("--older 9d", []),
    ],
)
def test_names_and_filters_select_the_jobs(
    terminal: Terminal, cluster: FakeCluster, line: str, names: list[str]
) -> None:
    cluster.objects[f"{cluster.jobs_path()}/waits"]["metadata"]["creationTimestamp"] = ago(0)
    listed = terminal.run("delete", *line.split(), "--dry-run", "-o", "json")
    assert (listed.exit_code, cluster.deleted) == (0, [])
    items = json.loads(listed.stdout)["items"]
    assert sorted(one["name"] for one in items) == names
    assert not any(one["deleted"] for one in items)
    done = terminal.run("delete", *line.split(), "--yes")
    assert done.exit_code == 0, done.output
    assert deleted(cluster) == names
    if not names:
        assert done.stderr == "no jobs match these filters\n"
        assert done.stdout == ""


def test_labels_are_selected_by_the_api_server(terminal: Terminal, cluster: FakeCluster) -> None:
    asked: list[tuple[str, str]] = []

    def listed(path: str, labels: str = "", fields: str = "") -> list[Json]:
        asked.append((path, labels))
        return []

    cluster.list = listed  # type: ignore[method-assign]
    assert terminal.run("delete", "-l", "app in (a, b)", "-A", "--yes").exit_code == 0
    ((path, labels),) = asked
    assert ("namespaces" in path, labels) == (False, "app in (a, b)")


def test_a_deletion_without_a_terminal_needs_yes(terminal: Terminal, cluster: FakeCluster) -> None:
    done = terminal.run("delete", "--older", "1d", stdin="y\n")
    assert done.exit_code == Exit.FAILED
    assert "--yes" in done.stderr
    assert cluster.deleted == []


@pytest.mark.parametrize(("answer", "names"), [("y", ["bad", "old"]), ("n", []), ("", [])])
def test_on_a_terminal_it_shows_the_jobs_and_asks(
    terminal: Terminal,
    cluster: FakeCluster,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    names: list[str],
) -> None:
    monkeypatch.setattr("nanogrid.cli.app.errors.on_terminal", lambda: True)
    done = terminal.run("delete", "--older", "1d", stdin=f"{answer}\n")
    assert deleted(cluster) == names
    assert "Delete 2 jobs?" in done.stderr
    assert done.stderr.index("old") < done.stderr.index("Delete 2 jobs?")
    assert done.exit_code == (0 if names else Exit.FAILED)
    assert "NAME" not in done.stdout  # the question has shown the table
    assert ("deleted 2 jobs" in done.stderr) is bool(names)


def test_a_dry_run_prints_the_table(terminal: Terminal) -> None:
    done = terminal.run("delete", "--phase", "failed", "--dry-run")
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["NAME", "bad"]
    assert done.stderr == "found 1 job\n"
    assert terminal.run("delete", "bad", "--yes", "-o", "name").stdout.endswith("/bad\n")


def test_a_job_that_cannot_be_deleted_does_not_stop_the_others(
    terminal: Terminal, cluster: FakeCluster
) -> None:
    real = cluster.delete

    def delete(path: str, name: str, uid: str | None = None) -> None:
        if name == "bad":
            raise Conflict(409, "Conflict", "another uid")
        if name == "fresh":
            raise ApiError(500, "InternalError", "etcd is away")
        real(path, name, uid)

    cluster.delete = delete  # type: ignore[method-assign]
    done = terminal.run("delete", "--older", "1m", "--yes", "-o", "json")
    assert done.exit_code == Exit.FAILED
    items = {one["name"]: one["deleted"] for one in json.loads(done.stdout)["items"]}
    assert items == {"bad": False, "fresh": False, "old": True}
    assert "bad was not deleted: another job has its name now" in done.stderr
    assert "fresh was not deleted: etcd is away" in done.stderr
    assert deleted(cluster) == ["old"]


def test_without_the_right_it_stops_at_once(terminal: Terminal, cluster: FakeCluster) -> None:
    cluster.delete_error = Forbidden(403, "Forbidden", "you cannot delete jobs")
    done = terminal.run("delete", "--older", "1m", "--yes")
    assert done.exit_code == Exit.FORBIDDEN
    assert len(cluster.deleted) == 1
    assert "hint: Ask for a role with the verb" in done.stderr


def test_a_job_that_is_gone_counts_as_deleted(terminal: Terminal, cluster: FakeCluster) -> None:
    cluster.delete_error = NotFound(404, "NotFound", "gone")
    done = terminal.run("delete", "old", "--yes")
    assert (done.exit_code, done.stderr) == (0, "deleted 1 job\n")


@pytest.mark.parametrize("line", [("-l", ""), ("--selector", " "), ("-l", ","), ("--function", "")])
def test_an_empty_filter_is_refused_and_deletes_nothing(
    terminal: Terminal, cluster: FakeCluster, line: tuple[str, str]
) -> None:
    done = terminal.run("delete", *line, "--older", "1m", "--yes")
    assert done.exit_code == Exit.USAGE
    assert "is empty" in done.stderr
    assert cluster.deleted == []
