"""What the chart makes of the nodes and Secrets of a cluster. Needs helm only."""

import json
import shutil
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from nanogrid.cli.http_serving import QuietHandler, serving
from nanogrid.types import Json
from support.helm import CHART, helm, manifests, named, pod_spec

DEV: Json = {"devServices": {"enabled": True}}
RESOURCES = {
    "/api/v1": [
        ("nodes", "Node", False),
        ("configmaps", "ConfigMap", True),
        ("secrets", "Secret", True),
    ],
    "/apis/rbac.authorization.k8s.io/v1": [
        ("roles", "Role", True),
        ("rolebindings", "RoleBinding", True),
    ],
    "/apis/node.k8s.io/v1": [("runtimeclasses", "RuntimeClass", False)],
}


class ApiServer(ThreadingHTTPServer):
    """An API server with nodes and one RuntimeClass, whose handler is ``runsc``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.nodes: list[Json] = []
        self.secrets: dict[str, Json] = {}
        self.version = "v1.34.0"

    def answer(self, path: str) -> Json | None:
        groups = []
        for name in ("node.k8s.io", "rbac.authorization.k8s.io"):
            group = {"groupVersion": f"{name}/v1", "version": "v1"}
            groups += [{"name": name, "versions": [group], "preferredVersion": group}]
        secrets, _, secret = path.rpartition("/")
        if secrets == "/api/v1/namespaces/platform/secrets":
            return self.secrets.get(secret)
        found: dict[str, Json] = {
            "/version": {"major": "1", "minor": "34", "gitVersion": self.version},
            "/api": {"kind": "APIVersions", "versions": ["v1"]},
            "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups},
            "/api/v1/nodes": {"kind": "NodeList", "apiVersion": "v1", "items": self.nodes},
            "/apis/node.k8s.io/v1/runtimeclasses/sandboxed": {
                "kind": "RuntimeClass",
                "apiVersion": "node.k8s.io/v1",
                "metadata": {"name": "sandboxed"},
                "handler": "runsc",
            },
        }
        for base, resources in RESOURCES.items():
            found[base] = {
                "kind": "APIResourceList",
                "groupVersion": base.partition("s/")[2] or "v1",
                "resources": [
                    {"name": name, "kind": kind, "namespaced": namespaced, "verbs": ["get", "list"]}
                    for name, kind, namespaced in resources
                ],
            }
        return found.get(path)


class _Handler(QuietHandler):
    server: ApiServer

    def do_GET(self) -> None:
        found = self.server.answer(self.path.partition("?")[0])
        missing = {"kind": "Status", "apiVersion": "v1", "reason": "NotFound", "code": 404}
        body = json.dumps(missing if found is None else found).encode()
        self.send_response(404 if found is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def api() -> Iterator[ApiServer]:
    """A running API server."""
    with serving(ApiServer()) as server:
        yield server


def node(*handlers: Json) -> Json:
    """A node whose kubelet reports these runtime handlers."""
    status = {"runtimeHandlers": list(handlers)}
    return {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "n"}, "status": status}


ABLE: Json = {"name": "", "features": {"userNamespaces": True}}
UNABLE: Json = {"name": "", "features": {"recursiveReadOnlyMounts": True}}
UNKNOWN: Json = {"features": None}
RUNSC: Json = {"name": "runsc", "features": {"userNamespaces": True}}


def a_chart(folder: Path) -> str:
    """A chart of one ConfigMap, which shows what the chart's own template makes of the values.

    helm asks the API server for the kind of each object: one kind is enough here.
    """
    with_helpers(folder)
    metadata = "metadata: {name: found}"
    data = 'data: {hostUsers: {{ include "nanogrid.hostUsers" . | quote }}}'
    (folder / "templates/found.yaml").write_text(
        f"apiVersion: v1\nkind: ConfigMap\n{metadata}\n{data}\n"
    )
    return str(folder)


def with_helpers(folder: Path) -> None:
    """A chart without objects, with the values and helpers of the chart."""
    shutil.copytree(
        f"{CHART}/templates",
        folder / "templates",
        ignore=shutil.ignore_patterns("*.*ml", "crds", "*.txt"),
    )
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 0.0.1\n")


def host_users(api: ApiServer, chart: str, values: Json) -> str:
    """The setting that helm makes of the nodes of this API server."""
    server = ["--dry-run=server", "--disable-openapi-validation"]
    address = f"http://127.0.0.1:{api.server_port}"
    sandbox = {"hostUsers": "auto", "runtimeClassName": "", **values.get("sandbox", {})}
    given = {"watchNamespaces": [], **values, "sandbox": sandbox}
    done = helm("template", "x", chart, *server, "--kube-apiserver", address, values=given)
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["data"]["hostUsers"])


@pytest.mark.parametrize(
    ("nodes", "values", "want"),
    [
        ([node(ABLE), node(ABLE, RUNSC)], {}, "false"),
        ([node(ABLE), node(UNABLE)], {}, "true"),
        ([node(ABLE), node(UNKNOWN)], {}, "true"),
        ([node(ABLE), {"kind": "Node", "metadata": {"name": "old"}, "status": {}}], {}, "true"),
        ([], {}, "true"),
        ([node(ABLE)], {"sandbox": {"runtimeClassName": "sandboxed"}}, "true"),
        ([node(ABLE, RUNSC)], {"sandbox": {"runtimeClassName": "sandboxed"}}, "false"),
        ([node(ABLE)], {"watchNamespaces": ["a"]}, "true"),
        ([node(ABLE)], {"sandbox": {"hostUsers": True}}, "true"),
        ([node(UNABLE)], {"sandbox": {"hostUsers": False}}, "false"),
    ],
)
def test_user_namespaces_are_used_if_all_nodes_support_them(
    api: ApiServer, tmp_path: Path, nodes: list[Json], values: Json, want: str
) -> None:
    api.nodes = nodes

    assert host_users(api, a_chart(tmp_path), values) == want


def test_an_older_cluster_keeps_the_nodes_users(api: ApiServer, tmp_path: Path) -> None:
    api.nodes, api.version = [node(ABLE)], "v1.32.5"

    assert host_users(api, a_chart(tmp_path), {}) == "true"


@pytest.mark.parametrize("values", [{}, {"sandbox": {"hostUsers": "auto"}}])
def test_by_default_and_without_a_cluster_the_nodes_users_are_kept(values: Json) -> None:
    deployment = named("Deployment", "nanogrid", manifests(values=DEV | values))
    env = {e["name"]: e.get("value") for e in pod_spec(deployment)["containers"][0]["env"]}

    assert env["NANOGRID_HOST_USERS"] == "true"


def test_other_values_are_refused() -> None:
    done = helm("template", "x", CHART, values=DEV | {"sandbox": {"hostUsers": "maybe"}})

    assert done.returncode != 0
    assert "hostUsers" in done.stderr


def rendered(api: ApiServer, chart: Path, values: Json) -> list[Json]:
    """The objects of a chart in the namespace ``platform`` of this cluster."""
    server = ["--dry-run=server", "--disable-openapi-validation", "--namespace", "platform"]
    address = f"http://127.0.0.1:{api.server_port}"
    given = {"fullnameOverride": "nanogrid", **values}
    done = helm("template", "x", str(chart), *server, "--kube-apiserver", address, values=given)
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def a_secret(name: str, release: str = "", version: str = "1") -> Json:
    """A Secret of a cluster, and the Helm release that it belongs to."""
    labels, annotations = (
        {"app.kubernetes.io/managed-by": "Helm"},
        {
            "meta.helm.sh/release-name": release,
            "meta.helm.sh/release-namespace": "platform",
        },
    )
    metadata = {
        "name": name,
        "namespace": "platform",
        "uid": "u",
        "resourceVersion": version,
        "labels": labels if release else {},
        "annotations": annotations if release else {},
    }
    return {"kind": "Secret", "apiVersion": "v1", "metadata": metadata, "data": {"key": "b2xk"}}


def test_an_upgrade_keeps_keys_that_an_older_chart_made(api: ApiServer, tmp_path: Path) -> None:
    with_helpers(tmp_path)
    shutil.copy(f"{CHART}/values.yaml", tmp_path)
    shutil.copy(f"{CHART}/templates/keys.yaml", tmp_path / "templates")
    api.secrets = {
        "nanogrid-result-key": a_secret("nanogrid-result-key", "x"),
        "nanogrid-session-key": a_secret("nanogrid-session-key"),
    }

    found = [d for d in rendered(api, tmp_path, {}) if d["kind"] == "Secret"]

    # Without it in the release, helm would delete the key. The other one was never in a release.
    assert [s["metadata"]["name"] for s in found] == ["nanogrid-result-key"]
    assert found[0]["data"] == {"key": "b2xk"}
    api.secrets = {}
    assert [d["kind"] for d in rendered(api, tmp_path, {})] == ["Role", "RoleBinding"]


def test_pods_restart_when_a_secret_that_others_create_changes(
    api: ApiServer, tmp_path: Path
) -> None:
    with_helpers(tmp_path)
    component = (
        '(dict "root" $ "component" "operator" "values" .Values.operator "secrets" (list "a"))'
    )
    (tmp_path / "templates/found.yaml").write_text(
        "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: found\n"
        f'  {{{{- include "nanogrid.podMetadata" {component} | nindent 2 }}}}\n'
    )
    values: Json = {"operator": {"podLabels": {}, "podAnnotations": {"own": "yes"}}}
    annotations = []
    for version in ("1", "1", "2"):
        api.secrets = {"a": a_secret("a", version=version)}
        (found,) = rendered(api, tmp_path, values)
        annotations.append(found["metadata"]["annotations"])

    assert annotations[0] == annotations[1] != annotations[2]
    assert {a["own"] for a in annotations} == {"yes"}
    assert len(annotations[0]["checksum/secrets"]) == 64
    api.secrets = {}
    (found,) = rendered(api, tmp_path, values)
    assert found["metadata"]["annotations"] == {"own": "yes"}
