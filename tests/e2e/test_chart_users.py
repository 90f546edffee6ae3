"""``sandbox.hostUsers`` in the chart: what it makes of the nodes of a cluster. Needs helm only."""

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
    "/api/v1": [("nodes", "Node", False), ("configmaps", "ConfigMap", True)],
    "/apis/node.k8s.io/v1": [("runtimeclasses", "RuntimeClass", False)],
}


class ApiServer(ThreadingHTTPServer):
    """An API server with nodes and one RuntimeClass, whose handler is ``runsc``."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.nodes: list[Json] = []
        self.version = "v1.34.0"

    def answer(self, path: str) -> Json | None:
        group = {"groupVersion": "node.k8s.io/v1", "version": "v1"}
        groups = [{"name": "node.k8s.io", "versions": [group], "preferredVersion": group}]
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
    shutil.copytree(
        f"{CHART}/templates",
        folder / "templates",
        ignore=shutil.ignore_patterns("*.*ml", "crds", "*.txt"),
    )
    (folder / "Chart.yaml").write_text("apiVersion: v2\nname: small\nversion: 0.0.1\n")
    metadata = "metadata: {name: found}"
    data = 'data: {hostUsers: {{ include "nanogrid.hostUsers" . | quote }}}'
    (folder / "templates/found.yaml").write_text(
        f"apiVersion: v1\nkind: ConfigMap\n{metadata}\n{data}\n"
    )
    return str(folder)


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
