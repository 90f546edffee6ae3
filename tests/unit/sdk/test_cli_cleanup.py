"""What ``cleanup`` finds and removes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

import pytest

from nanogrid import names
from nanogrid.cli import cleanup
from nanogrid.cli.app.exits import Exit
from nanogrid.client.errors import Conflict, Forbidden
from nanogrid.client.storage import Storage
from nanogrid.types import Json
from support.cli_fakes import NAMESPACE, FakeCluster, ended
from support.cli_terminal import Terminal

if TYPE_CHECKING:
    from nanogrid.s3.client import S3

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC).timestamp()
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"


def labelled(name: str, job_uid: str, **metadata: Any) -> Json:
    labels = {names.LABEL_JOB_UID: job_uid, names.LABEL_JOB: "old"}
    own = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "labels": labels}
    return {"metadata": own | metadata}


def session_ended_at(time: str) -> dict[str, Json]:
    session = ended("s")
    session["status"]["completionTime"] = time
    return {"uid-s": session}


def causes(kind: str, one: Json, jobs: dict[str, Json]) -> list[str]:
    return [leftover.why for leftover in cleanup.leftover_objects(kind, [one], jobs, NOW)]


def test_an_object_without_its_job_is_a_leftover() -> None:
    jobs = {"uid-a": ended("a")}
    assert causes("Pod", labelled("p", "uid-a"), jobs) == []
    assert causes("Pod", labelled("p", "uid-b"), jobs) == ["its job old is deleted"]
    terminating = labelled("p", "uid-b", deletionTimestamp="2026-01-02T11:59:00Z")
    assert causes("Pod", terminating, jobs) == []


def test_a_pod_that_waits_in_a_pool_is_no_leftover() -> None:
    assert causes("Pod", labelled("fast-pool-0a1b2c3d", ""), {}) == []


def test_a_claimed_pod_is_that_of_the_job_in_its_annotations() -> None:
    claim = {names.LABEL_JOB_UID: "uid-a", names.LABEL_JOB: "report"}
    pod = labelled("fast-pool-0a1b2c3d", "", annotations=claim)
    del pod["metadata"]["labels"][names.LABEL_JOB]
    assert causes("Pod", pod, {"uid-a": ended("a")}) == []
    assert causes("Pod", pod, {}) == ["its job report is deleted"]


def test_entry_points_of_a_session_that_ended_long_ago_are_leftovers() -> None:
    long_ago = session_ended_at("2026-01-02T11:00:00Z")
    just_now = session_ended_at("2026-01-02T11:59:00Z")
    for kind in ("Service", "Ingress", "TargetGroupBinding"):
        assert causes(kind, labelled("x", "uid-s"), long_ago) == ["its session s has ended"]
        assert causes(kind, labelled("x", "uid-s"), just_now) == []
    for kind in ("Pod", "Secret"):
        assert causes(kind, labelled("x", "uid-s"), long_ago) == []


@pytest.mark.parametrize(
    ("key", "minutes", "root", "leftover"),
    [
        ("outputs/r/x", 61, "team-a/", True),
        ("team-a/results/r/x", 61, "team-a/", True),
        ("team-a/sessions/r/x", 61, None, True),
        ("sessions/r/x", 61, None, True),
        ("team-b/results/r/x", 61, "team-a/", False),
        ("others/r/x", 61, None, False),
        ("my-outputs/r/x", 61, None, False),
        ("outputs/r/x", 59, None, False),
    ],
)
def test_old_uploads_below_our_prefixes_are_leftovers(
    key: str, minutes: int, root: str | None, leftover: bool
) -> None:
    started = datetime.fromtimestamp(NOW - 60 * minutes, UTC)
    upload = {"Key": key, "UploadId": "u", "Initiated": started}
    assert bool(cleanup.leftover_uploads("b", [upload], NOW, root)) is leftover


@pytest.mark.parametrize(
    ("key", "root", "leftover"),
    [
        ("prod/team-a/results/r/x", None, True),
        ("prod/outputs/r/x", None, True),
        ("beta/team-a/results/r/x", None, False),
        ("team-a/results/r/x", None, False),
        ("production/results/r/x", None, False),
        ("prod/team-a/results/r/x", "prod/team-a/", True),
        ("prod/outputs/r/x", "prod/team-a/", True),
        ("outputs/r/x", "prod/team-a/", False),
        ("beta/team-a/results/r/x", "prod/team-a/", False),
        ("own/results/r/x", "own/", True),
    ],
)
def test_uploads_of_another_installation_in_the_bucket_are_no_leftovers(
    key: str, root: str | None, leftover: bool
) -> None:
    upload = {"Key": key, "UploadId": "u", "Initiated": datetime.fromtimestamp(NOW - 3660, UTC)}
    found = cleanup.leftover_uploads("b", [upload], NOW, root, "prod/")

    assert bool(found) is leftover


class Uploads:
    """An S3 client whose bucket has an old upload of two installations each."""

    def uploads(self, _bucket: str) -> Iterator[Json]:
        for key in ("prod/team-a/results/r/x", "beta/team-a/results/r/x"):
            yield {"Key": key, "UploadId": "u", "Initiated": datetime.fromtimestamp(0, UTC)}


def test_all_namespaces_are_those_below_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix, expected in (("prod", ["prod/"]), ("prod/", ["prod/"]), ("", ["prod/", "beta/"])):
        monkeypatch.setenv("NANOGRID_S3_PREFIX", prefix)
        storage = Storage(cast("S3", Uploads()), "b", namespace="team-a")
        found = cleanup.find_uploads(storage, NOW, [], all_namespaces=True)

        assert [one.name for one in found] == [f"{p}team-a/results/r/x" for p in expected]


@pytest.fixture
def terminal(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A cluster with a pod and a Service whose jobs are deleted; no S3."""
    terminal.cluster.lists[PODS] = [labelled("p", "uid-b")]
    terminal.cluster.lists[SERVICES] = [labelled("s", "uid-b")]
    monkeypatch.setattr(cleanup, "open_storage", lambda *_: None)
    return terminal


@pytest.fixture
def cluster(terminal: Terminal) -> FakeCluster:
    return terminal.cluster


def test_a_dry_run_lists_and_removes_nothing(terminal: Terminal, cluster: FakeCluster) -> None:
    done = terminal.run("cleanup", "--dry-run", "-o", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    items = json.loads(done.stdout)["items"]
    assert [(one["kind"], one["name"], one["removed"]) for one in items] == [
        ("Pod", "p", False),
        ("Service", "s", False),
    ]
    assert cluster.deleted == []


def test_bindings_are_listed_where_their_kind_exists(
    terminal: Terminal, cluster: FakeCluster
) -> None:
    path = f"/apis/elbv2.k8s.aws/v1beta1/namespaces/{NAMESPACE}/targetgroupbindings"
    cluster.lists[path] = [labelled("b", "uid-b")]

    done = terminal.run("cleanup", "--dry-run", "-o", "json")

    kinds = [one["kind"] for one in json.loads(done.stdout)["items"]]
    assert kinds == ["Pod", "Service", "TargetGroupBinding"]


def test_force_removes_exactly_what_was_listed(terminal: Terminal, cluster: FakeCluster) -> None:
    done = terminal.run("cleanup", "--force")
    assert done.exit_code == 0
    assert "removed 2 leftovers" in done.stderr
    assert cluster.deleted == [f"{PODS}/p#uid-p", f"{SERVICES}/s#uid-s"]


def test_without_a_terminal_nothing_is_removed(terminal: Terminal, cluster: FakeCluster) -> None:
    done = terminal.run("cleanup")
    assert done.exit_code == Exit.FAILED
    assert "found 2 leftovers; no terminal to confirm" in done.stderr
    assert "--yes" in done.stderr
    assert cluster.deleted == []


def test_a_kind_that_cannot_be_listed_is_skipped_with_a_note(
    terminal: Terminal, cluster: FakeCluster
) -> None:
    cluster.forbidden.add(PODS)
    done = terminal.run("cleanup", "--yes")
    assert done.exit_code == 0
    assert "skipped pods" in done.stderr
    assert cluster.deleted == [f"{SERVICES}/s#uid-s"]


def test_an_object_that_cannot_be_removed_is_reported(
    terminal: Terminal, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: str, name: str, uid: str | None = None) -> None:
        if name == "p":
            raise Conflict(409, "x", "no")
        raise Forbidden(403, "Forbidden", "you cannot delete it.")

    monkeypatch.setattr(cluster, "delete", fail)
    done = terminal.run("cleanup", "--force", "-o", "json")
    data = json.loads(done.stdout)
    assert done.exit_code == Exit.FAILED
    assert [one["removed"] for one in data["items"]] == [True, False]
    gone, refused = data["notes"]
    assert "is already gone" in gone
    assert "was not removed" in refused


def test_no_leftovers(terminal: Terminal, cluster: FakeCluster) -> None:
    cluster.lists.clear()
    done = terminal.run("cleanup")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no leftovers" in done.stderr


@pytest.mark.parametrize("answer", [True, False])
def test_the_answer_decides(
    terminal: Terminal, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    monkeypatch.setattr(cleanup, "_confirmed", lambda *_: answer)
    done = terminal.run("cleanup")
    assert (done.exit_code, done.stdout) == (0, "")
    assert bool(cluster.deleted) is answer
    assert ("removed 2 leftovers" if answer else "found 2 leftovers") in done.stderr
