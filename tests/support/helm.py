"""The chart as helm renders it."""

import json
import subprocess
from typing import Any

import yaml

from nanogrid.types import Json

CHART = "helm/nanogrid-operator"
# The fewest values that the chart accepts, for real services and for those of a demo.
REAL: dict[str, Any] = {
    "s3": {"bucket": "jobs", "existingSecret": "s3-keys"},
    "network": {"s3": {"peers": [{"ipBlock": {"cidr": "10.0.128.0/20"}}]}},
    "redis": {"url": "rediss://redis:6379/0", "existingSecret": "redis-auth"},
}
DEV = {"devServices": {"enabled": True}}
CLUSTER_SCOPED = {
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "MutatingWebhookConfiguration",
    "Namespace",
    "PriorityClass",
    "RuntimeClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "ValidatingWebhookConfiguration",
}


def helm(*args: str, values: Any = None) -> "subprocess.CompletedProcess[str]":
    """Run helm; ``values``, if given, go to its stdin as a values file."""
    if values is not None:
        args = (*args, "--values", "-")
    text = None if values is None else json.dumps(values)
    return subprocess.run(["helm", *args], input=text, capture_output=True, text=True)


def manifests(*args: str, values: Any = None) -> list[Json]:
    """The chart's manifests from `helm template` with these options and values, without tests."""
    return with_tests("--skip-tests", *args, values=values)


def with_tests(*args: str, values: Any = None) -> list[Json]:
    """The chart's manifests, and those of `helm test`."""
    done = helm("template", "nanogrid", CHART, *args, values=values)
    assert done.returncode == 0, done.stderr
    return [d for d in yaml.safe_load_all(done.stdout) if d]


def of_kind(kind: str, documents: list[Json]) -> list[Json]:
    """The documents of one kind."""
    return [d for d in documents if d["kind"] == kind]


def named(kind: str, name: str, documents: list[Json]) -> Json:
    """The only document with this kind and name."""
    (found,) = [d for d in of_kind(kind, documents) if d["metadata"]["name"] == name]
    return found


def pod_spec(deployment: Json) -> Json:
    """The spec of a Deployment's pods."""
    found: Json = deployment["spec"]["template"]["spec"]
    return found
