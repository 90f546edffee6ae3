"""Pools of a test, and their waiting pods."""

from typing import Any

from nanogrid import names, pod_identity
from nanogrid.types import Json
from support.kubectl import Namespace, eventually, kubectl_json

SMALL = {"limits": {"memory": "128Mi", "cpu": "500m"}, "requests": {"cpu": "20m"}}


def pool(name: str, **spec: Any) -> Json:
    """An ExecutionPool."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.POOL_KIND,
        "metadata": {"name": name},
        "spec": {"resources": SMALL, **spec},
    }


def pool_status(namespace: Namespace, name: str) -> Json:
    """The status of a pool."""
    found = kubectl_json("--namespace", namespace.name, "get", names.POOL_PLURAL, name)
    status: Json = found.get("status") or {}
    return status


def waiting_pods(namespace: Namespace, name: str) -> list[str]:
    """The names of the pods that wait in a pool."""
    selector = f"{names.LABEL_POOL}={name}"
    found = kubectl_json("--namespace", namespace.name, "get", "pods", "-l", selector)["items"]
    return [pod["metadata"]["name"] for pod in found if not pod_identity.job_uid(pod)]


def filled(namespace: Namespace, name: str, ready: int) -> list[str]:
    """Wait until so many pods of a pool are ready; their names."""
    eventually(f"{ready} pods wait", lambda: pool_status(namespace, name).get("ready") == ready)
    return waiting_pods(namespace, name)
