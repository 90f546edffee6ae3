"""A real Prometheus as a pod: its rights are in the namespace of the release only."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import yaml

from nanogrid.types import Json
from scripts.devaccess import PortForward
from support.kubectl import Namespace, eventually, kubectl
from support.release import IN_RELEASE, RELEASE_NAMESPACE

NAME: Final = "prometheus"
PORT: Final = 9090
INTERVAL: Final = "5s"
READY_SECONDS: Final = 180
REQUEST_SECONDS: Final = 60
DIRECT: Final = urllib.request.ProxyHandler({})  # a proxy cannot reach local ports
# What kubernetes_sd_configs with the role endpointslice reads.
READS: Final = [
    {"apiGroups": [""], "resources": ["services", "pods"], "verbs": ["get", "list", "watch"]},
    {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "verbs": ["get", "list", "watch"],
    },
]
SECURITY: Final = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class Prometheus:
    """The API of a Prometheus that runs."""

    url: str

    def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer.

        Raises:
            AssertionError: it refuses the request; the message is its own.
        """
        query = f"?{urllib.parse.urlencode(parameters)}" if parameters else ""
        try:
            with urllib.request.build_opener(DIRECT).open(
                f"{self.url}/api/v1/{path}{query}", timeout=REQUEST_SECONDS
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path} {parameters}: {error.read().decode()}") from error

    def query(self, expr: str) -> list[Json]:
        """The series of an instant query."""
        found: list[Json] = self.get("query", query=expr)["result"]
        return found

    def targets(self) -> list[Json]:
        """The targets that it scrapes."""
        found: list[Json] = self.get("targets", state="active")["activeTargets"]
        return found

    def rules(self) -> list[Json]:
        """All rules, with their health."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]]


@contextmanager
def a_prometheus(
    namespace: Namespace, image: str, scrape: Json, groups: list[Json]
) -> Iterator[Prometheus]:
    """Run Prometheus in a namespace with one scrape_config and groups of rules."""
    reader = f"{NAME}-{namespace.name}"
    try:
        namespace.apply(*_objects(namespace, image, scrape, groups))
        kubectl(*IN_RELEASE, "apply", "-f", "-", stdin=json.dumps(_rights(namespace, reader)))
        namespace.kubectl(
            "wait", f"pod/{NAME}", "--for=condition=Ready", f"--timeout={READY_SECONDS}s"
        )
        with PortForward(namespace.name, f"pod/{NAME}", PORT) as forward:
            found = Prometheus(f"http://127.0.0.1:{forward.wait_ready()}")
            eventually("Prometheus answers", lambda: found.query("vector(1)"))
            yield found
    finally:
        for kind in ("rolebinding", "role"):
            kubectl(*IN_RELEASE, "delete", kind, reader, "--ignore-not-found")


def _rights(namespace: Namespace, name: str) -> Json:
    group = "rbac.authorization.k8s.io"
    metadata = {"name": name, "namespace": RELEASE_NAMESPACE}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            {"apiVersion": f"{group}/v1", "kind": "Role", "metadata": metadata, "rules": READS},
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": metadata,
                "roleRef": {"apiGroup": group, "kind": "Role", "name": name},
                "subjects": [{"kind": "ServiceAccount", "name": NAME, "namespace": namespace.name}],
            },
        ],
    }


def _objects(namespace: Namespace, image: str, scrape: Json, groups: list[Json]) -> list[Json]:
    config = {
        "global": {"scrape_interval": INTERVAL, "evaluation_interval": INTERVAL},
        "rule_files": ["/etc/prometheus/rules.yaml"],
        "scrape_configs": [scrape],
    }
    files = {
        "prometheus.yaml": yaml.safe_dump(config),
        "rules.yaml": yaml.safe_dump({"groups": groups}),
    }
    metadata = {"name": NAME, "namespace": namespace.name}
    container = {
        "name": NAME,
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "args": [
            "--config.file=/etc/prometheus/prometheus.yaml",
            "--storage.tsdb.path=/prometheus",
            "--storage.tsdb.retention.time=6h",
        ],
        "ports": [{"name": "http", "containerPort": PORT}],
        "readinessProbe": {"httpGet": {"path": "/-/ready", "port": "http"}, "periodSeconds": 2},
        "resources": {
            "requests": {"cpu": "50m", "memory": "96Mi"},
            "limits": {"memory": "512Mi"},
        },
        "securityContext": SECURITY,
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/prometheus"},
            {"name": "data", "mountPath": "/prometheus"},
        ],
    }
    pod = {
        "serviceAccountName": NAME,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65534,
            "runAsGroup": 65534,
            "fsGroup": 65534,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [
            {"name": "config", "configMap": {"name": NAME}},
            {"name": "data", "emptyDir": {"sizeLimit": "1Gi"}},
        ],
    }
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": files},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod},
    ]
