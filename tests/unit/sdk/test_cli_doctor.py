"""Each check of doctor: a finding without a problem, and one with a hint."""

import functools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
import yaml

from nanogrid import names
from nanogrid.cli import crd_checks, namespace_checks
from nanogrid.cli.app.exits import Exit
from nanogrid.client.errors import Unreachable
from nanogrid.client.kube.paths import pods, pools
from nanogrid.network_condition import Enforcement, condition, data_of
from nanogrid.reasons import Reason, sentence
from nanogrid.types import Json
from support.cli_fakes import NAMESPACE, FakeCluster
from support.cli_terminal import Terminal

DEPLOYMENTS = "/apis/apps/v1/deployments"
POLICIES = f"/apis/networking.k8s.io/v1/namespaces/{NAMESPACE}/networkpolicies"
READY = "/api/v1/namespaces/sys/services/nanogrid:8080/proxy/readyz"
POD_READY = "/api/v1/namespaces/sys/pods/operator-0:8080/proxy/readyz"
NETWORK = "/api/v1/namespaces/sys/configmaps/nanogrid-network"
SPACE = f"/api/v1/namespaces/{NAMESPACE}"


def deployment(ready: int = 1, **env: str) -> Json:
    variables = {
        "NANOGRID_REDIS_URL": "redis://:hunter2@redis:6379/0",
        "NANOGRID_S3_BUCKET": "jobs",
        "NANOGRID_EXECUTOR_IMAGE": "executor:1",
    } | env
    container = {"env": [{"name": key, "value": value} for key, value in variables.items()]}
    return {
        "metadata": {"name": "nanogrid", "namespace": "sys", "labels": {}},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {"readyReplicas": ready},
    }


@functools.cache
def crd_text(plural: str) -> str:
    """A CRD as JSON, which is read much faster than YAML."""
    with open(f"crds/{plural}.yaml", encoding="utf-8") as file:
        return json.dumps(yaml.safe_load(file))


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    """An installation without problems."""
    fake = terminal.cluster
    for path, plural in (
        (crd_checks.JOB_CRD, names.PLURAL),
        (crd_checks.FUNCTION_CRD, names.FUNCTION_PLURAL),
        (crd_checks.POOL_CRD, names.POOL_PLURAL),
    ):
        crd = json.loads(crd_text(plural))
        crd["status"] = {"conditions": [{"type": "Established", "status": "True"}]}
        fake.objects[path] = crd
    fake.objects[NETWORK] = {"data": data_of(condition(Enforcement.ENFORCED, "tested"))}
    fake.objects[READY] = {"ready": True, "missing": {}}
    fake.objects[SPACE] = {"metadata": {"labels": {namespace_checks.POD_SECURITY: "restricted"}}}
    fake.lists[DEPLOYMENTS] = [deployment()]
    fake.lists[POLICIES] = [{}]
    image = "docker.io/library/executor:1"
    fake.lists["/api/v1/nodes"] = [{"status": {"images": [{"names": [image]}]}}]
    return terminal


@pytest.fixture
def cluster(terminal: Terminal) -> FakeCluster:
    return terminal.cluster


Doctor = Callable[[], tuple[int, dict[str, Json]]]


@pytest.fixture
def doctor(terminal: Terminal) -> Doctor:
    """Runs doctor; returns the exit code, and the findings with a problem by check."""

    def run() -> tuple[int, dict[str, Json]]:
        done = terminal.run("doctor", "-o", "json")
        findings = json.loads(done.stdout)
        assert all(one["hint"] for one in findings if one["state"] != "ok")
        assert "hunter2" not in done.stdout
        return done.exit_code, {one["check"]: one for one in findings if one["state"] != "ok"}

    return run


def test_no_problems(terminal: Terminal, doctor: Doctor) -> None:
    assert doctor() == (0, {})
    text = terminal.run("doctor").stdout
    assert "ok    Redis" in text
    assert "redis://redis:6379/0" in text


def test_a_missing_crd_fails(cluster: FakeCluster, doctor: Doctor) -> None:
    del cluster.objects[crd_checks.JOB_CRD]
    code, found = doctor()
    assert (code, found["CRD"]["state"]) == (Exit.FAILED, "fail")


def test_a_missing_function_crd_is_a_warning(cluster: FakeCluster, doctor: Doctor) -> None:
    del cluster.objects[crd_checks.FUNCTION_CRD]
    code, found = doctor()
    assert (code, found["functions"]["state"]) == (0, "warn")


def test_a_missing_pool_crd_is_a_warning(cluster: FakeCluster, doctor: Doctor) -> None:
    del cluster.objects[crd_checks.POOL_CRD]
    code, found = doctor()
    assert (code, found["pools"]["state"]) == (0, "warn")


def test_a_pool_whose_pods_do_not_get_ready(cluster: FakeCluster, doctor: Doctor) -> None:
    def pool(name: str, status: str, reason: Reason, detail: str = "") -> Json:
        message = sentence(reason, detail)
        ready = {"type": "Ready", "status": status, "reason": reason.value, "message": message}
        return {"metadata": {"name": name}, "status": {"conditions": [ready]}}

    working = pool("fast", "True", Reason.POOL_READY)
    cluster.lists[pools(NAMESPACE)] = [working, {"metadata": {"name": "new"}}]
    assert doctor() == (0, {})
    failing = pool("data", "False", Reason.POOL_NOT_READY, "ErrImagePull: no such image")
    cluster.lists[pools(NAMESPACE)] = [working, failing]
    code, found = doctor()
    assert (code, found["pools"]["state"]) == (0, "warn")
    assert found["pools"]["detail"].startswith("data: ")
    assert found["pools"]["detail"].endswith("ErrImagePull: no such image.")


def test_a_crd_that_is_older_or_of_another_version(cluster: FakeCluster, doctor: Doctor) -> None:
    version = cluster.objects[crd_checks.JOB_CRD]["spec"]["versions"][0]
    del version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["suspend"]
    code, found = doctor()
    assert (code, found["CRD"]["state"]) == (0, "warn")
    assert "spec.suspend" in found["CRD"]["detail"]
    version["name"] = "v2"
    assert doctor()[0] == Exit.FAILED


def test_an_operator_that_is_missing_or_not_ready(cluster: FakeCluster, doctor: Doctor) -> None:
    cluster.lists[DEPLOYMENTS] = [deployment(ready=0)]
    code, found = doctor()
    assert (code, found["operator"]["state"]) == (Exit.FAILED, "fail")
    cluster.lists[DEPLOYMENTS] = []
    code, found = doctor()
    assert (code, found["operator"]["state"]) == (Exit.FAILED, "fail")


def test_an_operator_of_other_namespaces(cluster: FakeCluster, doctor: Doctor) -> None:
    cluster.lists[DEPLOYMENTS] = [deployment(NANOGRID_WATCH_NAMESPACES="a,b")]
    code, found = doctor()
    assert code == Exit.FAILED
    assert "only a, b" in found["operator"]["detail"]
    cluster.lists[DEPLOYMENTS] = [deployment(NANOGRID_WATCH_NAMESPACES=f"a,{NAMESPACE}")]
    assert doctor() == (0, {})


def test_all_servers_of_redis_are_shown_with_the_mode(
    cluster: FakeCluster, terminal: Terminal, doctor: Doctor
) -> None:
    url = "redis://:hunter2@a:6379,b:6379"
    env = {"NANOGRID_REDIS_URL": url, "NANOGRID_REDIS_MODE": "Cluster"}
    cluster.lists[DEPLOYMENTS] = [deployment(**env)]
    assert doctor() == (0, {})
    assert "redis://a:6379,b:6379 (Cluster)" in terminal.run("doctor").stdout


def test_redis_is_unavailable(cluster: FakeCluster, doctor: Doctor) -> None:
    cluster.objects[READY] = {"ready": False, "missing": {"redis": "TimeoutError: no answer"}}
    code, found = doctor()
    assert code == Exit.FAILED
    assert "no answer" in found["Redis"]["detail"]


@contextmanager
def no_forward(*_: Any, **__: Any) -> Iterator[int]:
    """A port-forward that is not allowed."""
    raise Unreachable(0, "PortForward", "pods is forbidden")
    yield 0


@contextmanager
def forward_to_operator(*_: Any, **__: Any) -> Iterator[int]:
    """A port-forward to an operator that does not reach S3."""

    class Operator(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(503)
            self.end_headers()
            self.wfile.write(b'{"missing": {"s3": "AccessDenied"}}')

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Operator) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        yield server.server_port
        thread.join()


@pytest.mark.parametrize(
    ("forward", "checks"), [(forward_to_operator, {"S3"}), (no_forward, {"Redis and S3"})]
)
def test_an_operator_that_no_proxy_reaches_is_asked_through_a_port_forward(
    cluster: FakeCluster,
    doctor: Doctor,
    monkeypatch: pytest.MonkeyPatch,
    forward: Any,
    checks: set[str],
) -> None:
    monkeypatch.setattr("nanogrid.client.kube.port_forward.port_forward", forward)
    cluster.unavailable.add(READY)
    cluster.lists[pods("sys")] = [{"metadata": {"name": "operator-0"}}]
    code, found = doctor()
    assert (code, set(found)) == (Exit.FAILED, checks)


def test_an_operator_that_is_not_ready_is_asked_through_its_pod(
    cluster: FakeCluster, doctor: Doctor
) -> None:
    cluster.unavailable.add(READY)
    cluster.lists[pods("sys")] = [{"metadata": {"name": "operator-0"}}]
    cluster.connection.bodies[POD_READY] = b'{"missing": {"s3": "AccessDenied"}}'
    code, found = doctor()
    assert (code, set(found)) == (Exit.FAILED, {"S3"})
    assert "AccessDenied" in found["S3"]["detail"]


def test_missing_permissions(cluster: FakeCluster, doctor: Doctor) -> None:
    cluster.denied = {"list pods"}
    code, found = doctor()
    assert (code, found["permissions"]["state"]) == (0, "warn")
    cluster.denied = {f"create {names.PLURAL}"}
    code, found = doctor()
    assert (code, found["permissions"]["state"]) == (Exit.FAILED, "fail")


def test_a_namespace_without_isolation(cluster: FakeCluster, doctor: Doctor) -> None:
    cluster.objects[SPACE] = {"metadata": {}}
    cluster.lists[POLICIES] = []
    cluster.lists["/apis/apps/v1/daemonsets"] = [{"metadata": {"name": "kindnet"}}]
    code, found = doctor()
    assert code == 0
    assert {"pod security", "network"} <= set(found)


def test_an_image_that_is_on_no_node(cluster: FakeCluster, doctor: Doctor) -> None:
    cluster.lists["/api/v1/nodes"] = [{"status": {"images": [{"names": ["other:1"]}]}}]
    assert doctor()[1]["image"]["state"] == "warn"
    cluster.lists[DEPLOYMENTS] = [deployment(NANOGRID_IMAGE_PULL_POLICY="Never")]
    code, found = doctor()
    assert (code, found["image"]["state"]) == (Exit.FAILED, "fail")


def test_a_check_without_permission_is_a_warning(cluster: FakeCluster, doctor: Doctor) -> None:
    cluster.forbidden = {POLICIES, "/api/v1/nodes"}
    code, found = doctor()
    assert code == 0
    assert set(found) == {"network", "image"}


def test_the_api_server_does_not_respond(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Json:
        raise Unreachable(0, "Timeout", "no response.")

    monkeypatch.setattr(terminal.cluster, "version", fail)
    done = terminal.run("doctor")
    assert (done.exit_code, done.stdout) == (Exit.UNREACHABLE, "")


def test_a_network_that_is_not_enforced_fails_unless_that_is_allowed(
    cluster: FakeCluster, doctor: Doctor
) -> None:
    assert "isolation" not in doctor()[1]
    found = condition(Enforcement.NOT_ENFORCED, "a pod reached 8081", probed="2026-01-01T00:00:00Z")
    cluster.objects[NETWORK] = {"data": data_of(found)}

    code, findings = doctor()
    isolation = findings["isolation"]
    assert (code, isolation["state"]) == (Exit.FAILED, "fail")
    assert "NotEnforced: a pod reached 8081 (2026-01-01T00:00:00Z)" in isolation["detail"]
    assert "security.allowUnenforcedNetwork" in isolation["hint"]

    cluster.lists[DEPLOYMENTS] = [deployment(NANOGRID_ALLOW_UNENFORCED_NETWORK="true")]
    assert doctor()[1]["isolation"]["state"] == "warn"


def test_a_network_without_a_test_is_a_warning(cluster: FakeCluster, doctor: Doctor) -> None:
    cluster.objects[NETWORK] = {}
    assert doctor()[1]["isolation"]["state"] == "warn"
