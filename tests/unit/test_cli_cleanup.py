"""What cleanup takes for left over, and what it does about it."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.testing import CliRunner

from nanogrid import names
from nanogrid.cli import cleaning, cleanup, link
from nanogrid.cli.exits import Exit
from nanogrid.cli.main import app
from nanogrid.client.errors import Conflict, Forbidden
from unit.cli_fakes import NAMESPACE, FakeClient, FakeCluster, ended

Json = dict[str, Any]
NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC).timestamp()
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
SERVICES = f"/api/v1/namespaces/{NAMESPACE}/services"


def thing(name: str, job_uid: str, **metadata: Any) -> Json:
    labels = {names.LABEL_JOB_UID: job_uid, names.LABEL_JOB: "old"}
    own = {"name": name, "namespace": NAMESPACE, "uid": f"uid-{name}", "labels": labels}
    return {"metadata": own | metadata}


def finished_at(time: str) -> dict[str, Json]:
    session = ended("s")
    session["status"]["completionTime"] = time
    return {"uid-s": session}


def found(kind: str, one: Json, jobs: dict[str, Json]) -> list[str]:
    return [left.why for left in cleaning.of_objects(kind, [one], jobs, NOW)]


def test_what_has_its_job_stays_and_what_has_none_is_left_over() -> None:
    jobs = {"uid-a": ended("a")}
    assert found("Pod", thing("p", "uid-a"), jobs) == []
    assert found("Pod", thing("p", "uid-b"), jobs) == ["its job old is gone"]
    going = thing("p", "uid-b", deletionTimestamp="2026-01-02T11:59:00Z")
    assert found("Pod", going, jobs) == []


def test_ways_into_a_session_that_ended_long_ago_are_left_over() -> None:
    long_ago, just_now = finished_at("2026-01-02T11:00:00Z"), finished_at("2026-01-02T11:59:00Z")
    for kind in ("Service", "Ingress", "TargetGroupBinding"):
        assert found(kind, thing("x", "uid-s"), long_ago) == ["its session s has ended"]
        assert found(kind, thing("x", "uid-s"), just_now) == []
    for kind in ("Pod", "Secret"):
        assert found(kind, thing("x", "uid-s"), long_ago) == []


@pytest.mark.parametrize(
    ("key", "minutes", "left"),
    [
        ("outputs/r/x", 61, True),
        ("results/r/x", 61, True),
        ("sessions/r/x", 61, True),
        ("others/r/x", 61, False),
        ("outputs/r/x", 59, False),
    ],
)
def test_uploads_of_ours_that_are_over_an_hour_old(key: str, minutes: int, left: bool) -> None:
    begun = datetime.fromtimestamp(NOW - 60 * minutes, UTC)
    upload = {"Key": key, "UploadId": "u", "Initiated": begun}
    assert bool(cleaning.of_uploads("b", [upload], NOW)) is left


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """A pod and a Service without their jobs; no S3."""
    fake = FakeCluster()
    fake.lists[PODS] = [thing("p", "uid-b")]
    fake.lists[SERVICES] = [thing("s", "uid-b")]
    monkeypatch.setattr(link, "make_client", lambda *_: FakeClient(fake))
    monkeypatch.setattr(cleanup, "open_storage", lambda *_: None)
    return fake


def run(*words: str) -> Any:
    return CliRunner().invoke(app, ["cleanup", *words])


def test_a_dry_run_shows_and_removes_nothing(cluster: FakeCluster) -> None:
    done = run("--dry-run", "-o", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    items = json.loads(done.stdout)["items"]
    assert [(one["kind"], one["name"], one["removed"]) for one in items] == [
        ("Pod", "p", False),
        ("Service", "s", False),
    ]
    assert cluster.deleted == []


def test_bindings_are_looked_at_where_their_kind_exists(cluster: FakeCluster) -> None:
    path = f"/apis/elbv2.k8s.aws/v1beta1/namespaces/{NAMESPACE}/targetgroupbindings"
    cluster.lists[path] = [thing("b", "uid-b")]

    done = run("--dry-run", "-o", "json")

    kinds = [one["kind"] for one in json.loads(done.stdout)["items"]]
    assert kinds == ["Pod", "Service", "TargetGroupBinding"]


def test_force_removes_exactly_what_was_seen(cluster: FakeCluster) -> None:
    done = run("--force")
    assert done.exit_code == 0
    assert "2 removed" in done.stderr
    assert cluster.deleted == [f"{PODS}/p#uid-p", f"{SERVICES}/s#uid-s"]


def test_nobody_to_ask_is_no_consent(cluster: FakeCluster) -> None:
    done = run()
    assert done.exit_code == Exit.FAILED
    assert "--force" in done.stderr
    assert cluster.deleted == []


def test_what_may_not_be_listed_is_named_and_the_rest_is_done(cluster: FakeCluster) -> None:
    cluster.forbidden.add(PODS)
    done = run("--force")
    assert done.exit_code == 0
    assert "pods are left out" in done.stderr
    assert cluster.deleted == [f"{SERVICES}/s#uid-s"]


def test_what_cannot_be_removed_is_named(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: str, name: str, uid: str | None = None) -> None:
        raise (
            Conflict(409, "x", "no") if name == "p" else Forbidden(403, "Forbidden", "you may not.")
        )

    monkeypatch.setattr(cluster, "delete", refuse)
    done = run("--force", "-o", "json")
    told = json.loads(done.stdout)
    assert done.exit_code == Exit.FAILED
    assert [one["removed"] for one in told["items"]] == [True, False]
    assert ["has gone by itself" in told["notes"][0], "stays" in told["notes"][1]] == [True, True]


def test_nothing_is_left(cluster: FakeCluster) -> None:
    cluster.lists.clear()
    done = run()
    assert (done.exit_code, done.stdout) == (0, "")
    assert "nothing is left over" in done.stderr


@pytest.mark.parametrize("answer", [True, False])
def test_the_answer_counts(
    cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch, answer: bool
) -> None:
    monkeypatch.setattr(cleanup, "_agreed", lambda *_: answer)
    done = run()
    assert (done.exit_code, done.stdout) == (0, "")
    assert bool(cluster.deleted) is answer
    assert ("2 removed" if answer else "2 left over") in done.stderr
