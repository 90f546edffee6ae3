"""Pods that the operator builds, and their parts."""

import json
from typing import Any

from nanogrid.api.job import ExecutionJob
from nanogrid.types import Json
from nanogrid_operator.manifests.pod import build_pod
from nanogrid_operator.settings import Settings
from support.builders import a_job_body, some_settings, tenant_of

ZIP_JOB: Json = {
    "requestId": "order-1",
    "functionId": "sales-total",
    "code": {"s3": {"key": "functions/sales-total/v1.zip", "sha256": "ab" * 32}},
    "args": ["--월", "9"],
    "env": [{"name": "MODE", "value": "full"}],
    "inputs": [
        {"name": "sales", "s3": {"bucket": "shop", "prefix": "2025/판매/"}, "minFiles": 2},
        {
            "name": "prices",
            "s3": {"key": "prices.csv"},
            "mountPath": "/app/prices",
            "required": False,
            "maxBytes": 1048576,
        },
    ],
    "outputs": {"path": "out", "s3": {"bucket": "reports", "prefix": "daily"}},
    "runtime": {"image": "team-a/pandas:2"},
    "resources": {
        "limits": {"cpu": 2, "memory": "1Gi"},
        "requests": {"cpu": "500m", "memory": "512Mi"},
    },
    "timeouts": {"startupSeconds": 60, "executionSeconds": 120, "uploadSeconds": 30},
}


OTHER_BUCKETS = [{"name": "shop"}, {"name": "reports", "access": "ReadWrite"}]


def model(**changes: Any) -> ExecutionJob:
    return ExecutionJob.model_validate(a_job_body(**changes))


def built(settings: Settings | None = None, **changes: Any) -> Json:
    tenant = tenant_of(settings, allow={"buckets": OTHER_BUCKETS})
    return build_pod(model(**changes), 0, settings or some_settings(), tenant)


def containers_of(pod: Json) -> list[Json]:
    """All containers, init containers first."""
    found: list[Json] = pod["spec"].get("initContainers", []) + pod["spec"]["containers"]
    return found


def container(pod: Json, name: str) -> Json:
    found: Json = next(c for c in containers_of(pod) if c["name"] == name)
    return found


def task_text(pod: Json, name: str = "agent") -> str:
    env = {e["name"]: e.get("value") for e in container(pod, name)["env"]}
    return str(env["NANOGRID_TASK"])


def legible(pod: Json) -> Json:
    """The manifest with each task's JSON text as JSON."""
    for c in containers_of(pod):
        for variable in c.get("env", []):
            if variable["name"] == "NANOGRID_TASK":
                variable["value"] = json.loads(variable["value"])
    return pod
