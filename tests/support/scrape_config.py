"""A ServiceMonitor as Prometheus scrapes it: what the Prometheus Operator makes of one.

https://github.com/prometheus-operator/prometheus-operator, pkg/prometheus/promcfg.go: the selector
becomes relabelings that keep targets, the labels of the target follow, then those of the endpoint.
"""

import re
from typing import Any, Final

from nanogrid.types import Json

ROLE: Final = "endpointslice"
_PORT_NAME: Final = f"__meta_kubernetes_{ROLE}_port_name"
_LABELS: Final = {
    "namespace": "__meta_kubernetes_namespace",
    "service": "__meta_kubernetes_service_name",
    "pod": "__meta_kubernetes_pod_name",
    "container": "__meta_kubernetes_pod_container_name",
    "job": "__meta_kubernetes_service_name",
}


def scrape_config(monitor: Json) -> Json:
    """The scrape_config of the only endpoint of a ServiceMonitor."""
    (endpoint,) = monitor["spec"]["endpoints"]
    config = {
        "job_name": f"serviceMonitor/{monitor['metadata']['name']}",
        "honor_labels": endpoint["honorLabels"],
        "metrics_path": endpoint["path"],
        "scrape_interval": endpoint["interval"],
        "kubernetes_sd_configs": [
            {"role": ROLE, "namespaces": {"names": _namespaces(monitor)}},
        ],
        "relabel_configs": [
            *_selected(monitor["spec"]["selector"]["matchLabels"]),
            {"action": "keep", "source_labels": [_PORT_NAME], "regex": endpoint["port"]},
            {
                "action": "drop",
                "source_labels": ["__meta_kubernetes_pod_phase"],
                "regex": "(Failed|Succeeded)",
            },
            *({"source_labels": [of], "target_label": label} for label, of in _LABELS.items()),
            {"target_label": "endpoint", "replacement": endpoint["port"]},
            *(_snake(one) for one in endpoint.get("relabelings", [])),
        ],
    }
    if metric := [_snake(one) for one in endpoint.get("metricRelabelings", [])]:
        config["metric_relabel_configs"] = metric
    if timeout := endpoint.get("scrapeTimeout"):
        config["scrape_timeout"] = timeout
    return config


def _namespaces(monitor: Json) -> list[str]:
    found: list[str] = monitor["spec"]["namespaceSelector"]["matchNames"]
    return found


def _selected(labels: dict[str, str]) -> list[Json]:
    """A Service is kept if it has these labels."""
    kept: list[Json] = []
    for label, value in sorted(labels.items()):
        name = re.sub(r"[^a-zA-Z0-9_]", "_", label)
        kind = "__meta_kubernetes_service_label"
        kept.append(
            {
                "action": "keep",
                "source_labels": [f"{kind}_{name}", f"{kind}present_{name}"],
                "regex": f"({re.escape(value)});true",
            }
        )
    return kept


def _snake(relabeling: dict[str, Any]) -> Json:
    """A relabeling of the Prometheus Operator with the names that Prometheus has."""
    return {re.sub(r"[A-Z]", lambda m: f"_{m[0].lower()}", k): v for k, v in relabeling.items()}
