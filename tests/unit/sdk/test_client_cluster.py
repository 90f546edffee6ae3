"""The client's access to Kubernetes: verbs, errors, retries, and a watch that continues."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from nanogrid.client import (
    ApiError,
    Cluster,
    Conflict,
    Forbidden,
    NotConfigured,
    NotFound,
    Unreachable,
)
from nanogrid.client.kube.paths import jobs
from nanogrid.types import Json
from support.api_store import NAMESPACE
from support.client_server import FakeApi, failure

# No operator changes the objects of these tests.
pytestmark = pytest.mark.usefixtures("idle_api")


def job(name: str, **labels: str) -> Json:
    return {"metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}, "spec": {}}


def test_a_kubeconfig_gives_address_token_and_namespace(
    api: FakeApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NANOGRID_NAMESPACE", raising=False)
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "a",
        "clusters": [{"name": "c", "cluster": {"server": api.url}}],
        "users": [{"name": "u", "user": {"token": "secret-token"}}],
        "contexts": [
            {"name": "a", "context": {"cluster": "c", "user": "u", "namespace": "one"}},
            {"name": "b", "context": {"cluster": "c", "user": "u"}},
        ],
    }
    path = tmp_path / "config"
    path.write_text(json.dumps(config))

    cluster = Cluster.connect(kubeconfig=str(path))

    assert cluster.namespace == "one"
    assert cluster.connection.auth_headers() == {"authorization": "Bearer secret-token"}
    assert cluster.version()["gitVersion"] == "v1.99.0"
    assert Cluster.connect(kubeconfig=str(path), context="b").namespace == "default"
    assert Cluster.connect(kubeconfig=str(path), namespace="mine").namespace == "mine"
    with pytest.raises(NotConfigured, match="nowhere"):
        Cluster.connect(kubeconfig=str(path), context="nowhere")


def test_a_missing_kubeconfig_has_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(NotConfigured) as caught:
        Cluster.connect()
    assert "KUBECONFIG" in caught.value.hint


def test_objects_are_created_read_patched_and_deleted(api: FakeApi) -> None:
    cluster, path = api.cluster(), jobs(NAMESPACE)
    made = cluster.create(path, job("a"))
    assert cluster.get(f"{path}/a") == made
    assert cluster.patch(path, "a", {"spec": {"cancel": True}})["spec"] == {"cancel": True}
    with pytest.raises(Conflict):
        cluster.create(path, job("a"))
    with pytest.raises(Conflict):
        cluster.delete(path, "a", uid="another")
    cluster.delete(path, "a", uid=made["metadata"]["uid"])
    with pytest.raises(NotFound, match="not found") as caught:
        cluster.get(f"{path}/a")
    assert (caught.value.status, caught.value.reason) == (404, "NotFound")
    with pytest.raises(NotFound):
        cluster.delete(path, "a")


def test_a_list_has_pages_and_selectors(api: FakeApi) -> None:
    api.page = 2
    for number in range(5):
        api.put(api.job_path(f"j{number}"), job(f"j{number}", odd=str(number % 2)))
    cluster = api.cluster()
    assert [one["metadata"]["name"] for one in cluster.list(jobs())] == [f"j{n}" for n in range(5)]
    assert len(api.requests) == 3
    assert len(cluster.list(jobs(NAMESPACE), labels="odd=1")) == 2
    assert len(cluster.list(jobs(NAMESPACE), fields="metadata.name=j3")) == 1


def test_a_busy_server_is_retried_and_a_refusal_is_final(api: FakeApi) -> None:
    api.refusals.put(failure(503, "ServiceUnavailable", "busy"))
    api.refusals.put(failure(429, "TooManyRequests", "slow down"))
    assert api.cluster().version()
    assert len(api.requests) == 3

    api.refusals.put(failure(403, "Forbidden", "list is forbidden"))
    with pytest.raises(Forbidden, match="list is forbidden"):
        api.cluster().list(jobs())
    assert len(api.requests) == 4


def test_a_create_is_not_sent_again_after_a_lost_answer(api: FakeApi) -> None:
    api.lose_creates = 1
    with pytest.raises(Unreachable):
        api.cluster().create(jobs(NAMESPACE), job("a"))
    assert [method for method, _ in api.requests] == ["POST"]


def test_a_missing_server_is_unreachable_with_a_hint() -> None:
    dead = FakeApi()
    dead.server_close()
    with pytest.raises(Unreachable, match="does not answer") as caught:
        dead.cluster().version()
    assert caught.value.status == 0
    assert caught.value.hint


def test_can_asks_for_a_permission(api: FakeApi) -> None:
    assert api.cluster().can("create", "executionjobs", NAMESPACE, "nanogrid.io")
    api.allowed = False
    assert not api.cluster().can("create", "executionjobs", NAMESPACE, "nanogrid.io")


def test_can_asks_for_a_service_account(api: FakeApi) -> None:
    assert api.cluster().can("create", "pods/exec", NAMESPACE, service_account="team:runner")
    (review,) = api.reviews
    assert review["spec"]["user"] == "system:serviceaccount:team:runner"
    assert "system:serviceaccounts:team" in review["spec"]["groups"]
    asked = review["spec"]["resourceAttributes"]
    assert (asked["resource"], asked["subresource"]) == ("pods", "exec")


def collect(api: FakeApi, count: int, **options: Any) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for event in api.cluster().watch(jobs(NAMESPACE), **options):
        found.append((event["type"], event["object"]["metadata"]["name"]))
        if len(found) == count:
            break
    return found


def test_a_watch_begins_with_existing_objects_and_ends_at_its_timeout(api: FakeApi) -> None:
    api.put(api.job_path("a"), job("a"))
    assert collect(api, 10, timeout_seconds=0.1) == [("ADDED", "a")]


def test_a_watch_from_a_version_has_only_later_changes(api: FakeApi) -> None:
    api.put(api.job_path("a"), job("a"))
    version = str(api.version)
    api.put(api.job_path("b"), job("b"))
    api.remove(api.job_path("a"))
    found = collect(api, 2, resource_version=version, timeout_seconds=5)
    assert found == [("ADDED", "b"), ("DELETED", "a")]


def test_a_watch_from_an_expired_version_lists_again(api: FakeApi) -> None:
    api.put(api.job_path("a"), job("a"))
    old = str(api.version - 1)
    api.put(api.job_path("a"), job("a"))
    api.forget()
    assert collect(api, 1, resource_version=old, timeout_seconds=5) == [("ADDED", "a")]


def test_after_410_a_watch_has_the_changes_since_the_last_event(api: FakeApi) -> None:
    for name in ("same", "changes", "goes"):
        api.put(api.job_path(name), job(name))
    found: list[tuple[str, str]] = []
    for event in api.cluster().watch(jobs(NAMESPACE), timeout_seconds=10):
        found.append((event["type"], event["object"]["metadata"]["name"]))
        if len(found) == 3:  # all are known; now the history is lost
            with api.changed:
                api.remove(api.job_path("goes"))
                api.put(api.job_path("changes"), job("changes"))
                api.put(api.job_path("new"), job("new"))
                api.forget()
        if len(found) == 6:
            break
    assert sorted(found[3:]) == [("ADDED", "new"), ("DELETED", "goes"), ("MODIFIED", "changes")]


def test_a_watch_continues_where_its_connection_broke(api: FakeApi) -> None:
    version = str(api.version)
    api.cut_watch_after = 1
    for name in ("a", "b", "c"):
        api.put(api.job_path(name), job(name))
    found = collect(api, 3, resource_version=version, timeout_seconds=10)
    assert found == [("ADDED", "a"), ("ADDED", "b"), ("ADDED", "c")]
    watches = [path for _, path in api.requests if "watch=true" in path]
    assert len(watches) == 2


def test_a_forbidden_watch_raises(api: FakeApi) -> None:
    api.refusals.put(failure(403, "Forbidden", "watch is forbidden"))
    with pytest.raises(ApiError, match="watch is forbidden"):
        collect(api, 1, resource_version="1", timeout_seconds=5)


def test_the_log_of_a_pod_is_complete(api: FakeApi) -> None:
    api.logs["p"] = "one\ntwo\nno end"
    assert b"".join(api.cluster().pod_log(NAMESPACE, "p", "sandbox")) == b"one\ntwo\nno end"


def test_several_threads_can_use_a_cluster(api: FakeApi) -> None:
    cluster, found = api.cluster(), []
    threads = [threading.Thread(target=lambda: found.append(cluster.version())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
