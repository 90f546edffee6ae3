"""Each check of doctor: well, and wrong with a cure."""

import json
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from nanogrid import names
from nanogrid.cli import checks, link
from nanogrid.cli.exits import Exit
from nanogrid.cli.main import app
from nanogrid.client.errors import ApiError, Unreachable
from unit.cli_fakes import NAMESPACE, FakeClient, FakeCluster

Json = dict[str, Any]
DEPLOYMENTS = "/apis/apps/v1/deployments"
POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
READY = "/api/v1/namespaces/sys/services/nanogrid:8080/proxy/readyz"
SPACE = f"/api/v1/namespaces/{NAMESPACE}"


def deployment(ready: int = 1, **env: str) -> Json:
    given = {
        "NANOGRID_REDIS_URL": "redis://:hunter2@redis:6379/0",
        "NANOGRID_S3_BUCKET": "jobs",
        "NANOGRID_EXECUTOR_IMAGE": "executor:1",
    } | env
    container = {"env": [{"name": key, "value": value} for key, value in given.items()]}
    return {
        "metadata": {"name": "nanogrid", "namespace": "sys", "labels": {}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {"readyReplicas": ready},
    }


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    """All is well."""
    fake = FakeCluster()
    for path, plural in ((checks.CRD, names.PLURAL), (checks.FUNCTION_CRD, names.FUNCTION_PLURAL)):
        with open(f"crds/{plural}.yaml", encoding="utf-8") as file:
            crd = yaml.safe_load(file)
        crd["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        fake.objects[path] = crd
    fake.objects[READY] = {"ready": True, "missing": {}}
    fake.objects[SPACE] = {"metadata": {"labels": {checks.POD_SECURITY: "restricted"}}}
    fake.lists[DEPLOYMENTS] = [deployment()]
    fake.lists[POLICIES] = [{}]
    names_ = ["docker.io/library/executor:1"]
    fake.lists["/api/v1/nodes"] = [{"status": {"images": [{"names": names_}]}}]
    monkeypatch.setattr(link, "make_client", lambda *_: FakeClient(fake))
    return fake


def doctor() -> tuple[int, dict[str, Json]]:
    """Exit code, and the findings that are not well, by check."""
    done = CliRunner().invoke(app, ["doctor", "-o", "json"])
    found = json.loads(done.stdout)
    assert all(one["cure"] for one in found if one["state"] != "ok")
    assert "hunter2" not in done.stdout
    return done.exit_code, {one["check"]: one for one in found if one["state"] != "ok"}


def test_all_is_well(cluster: FakeCluster) -> None:
    assert doctor() == (0, {})
    text = CliRunner().invoke(app, ["doctor"]).stdout
    assert "ok    Redis" in text
    assert "redis://redis:6379/0" in text


def test_no_crd(cluster: FakeCluster) -> None:
    del cluster.objects[checks.CRD]
    code, found = doctor()
    assert (code, found["CRD"]["state"]) == (Exit.FAILED, "fail")


def test_no_functions_is_no_failure(cluster: FakeCluster) -> None:
    del cluster.objects[checks.FUNCTION_CRD]
    code, found = doctor()
    assert (code, found["functions"]["state"]) == (0, "warn")


def test_a_crd_of_another_version_or_older(cluster: FakeCluster) -> None:
    version = cluster.objects[checks.CRD]["spec"]["versions"][0]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["suspend"]
    code, found = doctor()
    assert (code, found["CRD"]["state"]) == (0, "warn")
    assert "spec.suspend" in found["CRD"]["detail"]
    version["name"] = "v2"
    assert doctor()[0] == Exit.FAILED


def test_no_operator_and_one_that_is_not_ready(cluster: FakeCluster) -> None:
    cluster.lists[DEPLOYMENTS] = [deployment(ready=0)]
    code, found = doctor()
    assert (code, found["operator"]["state"]) == (Exit.FAILED, "fail")
    cluster.lists[DEPLOYMENTS] = []
    code, found = doctor()
    assert (code, found["operator"]["state"]) == (Exit.FAILED, "fail")


def test_an_operator_of_other_namespaces(cluster: FakeCluster) -> None:
    cluster.lists[DEPLOYMENTS] = [deployment(NANOGRID_WATCH_NAMESPACES="a,b")]
    code, found = doctor()
    assert code == Exit.FAILED
    assert "only a, b" in found["operator"]["detail"]
    cluster.lists[DEPLOYMENTS] = [deployment(NANOGRID_WATCH_NAMESPACES=f"a,{NAMESPACE}")]
    assert doctor() == (0, {})


def test_redis_away(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.objects[READY] = {"ready": False, "missing": {"redis": "TimeoutError: no answer"}}
    code, found = doctor()
    assert code == Exit.FAILED
    assert "no answer" in found["Redis"]["detail"]
    ask = cluster.get

    def not_ready(path: str) -> Json:
        if path == READY:
            raise ApiError(503, "ServiceUnavailable", "no endpoints available")
        return ask(path)

    monkeypatch.setattr(cluster, "get", not_ready)
    monkeypatch.setattr(checks, "unready", lambda *_: {"missing": {"s3": "AccessDenied"}})
    code, found = doctor()
    assert (code, set(found)) == (Exit.FAILED, {"S3"})
    assert "AccessDenied" in found["S3"]["detail"]
    monkeypatch.setattr(checks, "unready", lambda *_: None)
    code, found = doctor()
    assert (code, set(found)) == (Exit.FAILED, {"Redis and S3"})


def test_missing_permissions(cluster: FakeCluster) -> None:
    cluster.denied = {"list pods"}
    code, found = doctor()
    assert (code, found["permissions"]["state"]) == (0, "warn")
    cluster.denied = {f"create {names.PLURAL}"}
    code, found = doctor()
    assert (code, found["permissions"]["state"]) == (Exit.FAILED, "fail")


def test_namespace_without_isolation(cluster: FakeCluster) -> None:
    cluster.objects[SPACE] = {"metadata": {}}
    cluster.lists[POLICIES] = []
    cluster.lists["/apis/apps/v1/daemonsets"] = [{"metadata": {"name": "kindnet"}}]
    code, found = doctor()
    assert code == 0
    assert {"pod security", "network"} <= set(found)


def test_an_image_that_no_node_has(cluster: FakeCluster) -> None:
    cluster.lists["/api/v1/nodes"] = [{"status": {"images": [{"names": ["other:1"]}]}}]
    assert doctor()[1]["image"]["state"] == "warn"
    cluster.lists[DEPLOYMENTS] = [deployment(NANOGRID_IMAGE_PULL_POLICY="Never")]
    code, found = doctor()
    assert (code, found["image"]["state"]) == (Exit.FAILED, "fail")


def test_what_may_not_be_seen_is_said_and_the_rest_goes_on(cluster: FakeCluster) -> None:
    cluster.forbidden = {POLICIES, "/api/v1/nodes"}
    code, found = doctor()
    assert code == 0
    assert set(found) == {"network", "image"}


def test_no_api_server(cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    def silent() -> Json:
        raise Unreachable(0, "Timeout", "no answer.")

    monkeypatch.setattr(cluster, "version", silent)
    done = CliRunner().invoke(app, ["doctor"])
    assert (done.exit_code, done.stdout) == (Exit.UNREACHABLE, "")
