"""A real Prometheus as a pod: its rights are in the namespace of the release only."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import yaml

from nanogrid.types import Json
from scripts import deploy
from scripts.devaccess import PortForward
from support.helm import manifests, named
from support.kubectl import Namespace, eventually, kubectl
from support.prometheus_api import Prometheus
from support.prometheus_tools import loaded_image
from support.release import IN_RELEASE, RELEASE, RELEASE_NAMESPACE
from support.scrape_config import scrape_config

NAME: Final = "prometheus"
PORT: Final = 9090
INTERVAL: Final = "5s"
READY_SECONDS: Final = 180
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


def monitoring_of_release() -> tuple[Json, list[Json]]:
    """The ServiceMonitor of the installed release, and the groups of its PrometheusRule."""
    on = {"enabled": True, "renderMode": "alwaysRender"}
    metrics = {"serviceMonitor": {**on, "interval": INTERVAL}, "prometheusRule": on}
    values = {**deploy.values(), "metrics": metrics}
    rendered = manifests("--namespace", RELEASE_NAMESPACE, values=values)
    groups: list[Json] = named("PrometheusRule", RELEASE, rendered)["spec"]["groups"]
    return named("ServiceMonitor", RELEASE, rendered), groups


def all_up(prometheus: Prometheus) -> bool:
    """Whether there are targets, and all of them answer."""
    targets = prometheus.targets()
    return bool(targets) and all(target["health"] == "up" for target in targets)


@contextmanager
def a_prometheus(namespace: Namespace, monitor: Json, groups: list[Json]) -> Iterator[Prometheus]:
    """Run Prometheus in a namespace, with the targets of a ServiceMonitor and groups of rules."""
    reader = f"{NAME}-{namespace.name}"
    try:
        image, scrape = loaded_image("prometheus"), scrape_config(monitor)
        namespace.apply(*_objects(namespace, image, scrape, groups))
        kubectl(*IN_RELEASE, "apply", "-f", "-", stdin=json.dumps(_rights(namespace, reader)))
        namespace.kubectl(
            "wait", f"pod/{NAME}", "--for=condition=Ready", f"--timeout={READY_SECONDS}s"
        )
        with PortForward(namespace.name, f"pod/{NAME}", PORT) as forward:
            found = Prometheus(forward.wait_url())
            eventually("Prometheus answers", lambda: found.query("vector(1)"))
            eventually("all targets are scraped", lambda: all_up(found))
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
