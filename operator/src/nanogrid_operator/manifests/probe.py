"""The pods that test whether the cluster enforces NetworkPolicies. Pure."""

from urllib.parse import urlsplit

from nanogrid import names
from nanogrid.types import Json
from nanogrid_operator.manifests.containers import log_env
from nanogrid_operator.manifests.placement import place, trusted_resources
from nanogrid_operator.settings import PLATFORM_UID, Settings

CONTAINER = "probe"


def probe_name(kind: str, settings: Settings) -> str:
    """The pod's name: fixed, so that a restarted operator finds the pod of the one before it.

    The two pods differ before the last hyphen: the network plugin of EKS gives pods of one node the
    same policies if their names are equal up to there.
    """
    return f"{settings.fullname}-{kind}-probe"


def probe_pod(kind: str, settings: Settings) -> Json:
    """A pod that tests the network; ``kind`` is one of :data:`nanogrid.names.PROBE_KINDS`.

    It runs where sandbox pods run. It lacks their job's label, so that no policy of sandboxes and
    no watch selects it.
    """
    host = urlsplit(settings.results_url).hostname or ""
    container: Json = {
        "name": CONTAINER,
        "image": settings.executor_image,
        "imagePullPolicy": settings.image_pull_policy,
        "command": ["python3", "-m", "nanogrid_executor", "probe-network", kind, host],
        "env": log_env(settings),
        "resources": trusted_resources(settings),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "activeDeadlineSeconds": settings.network_probe_timeout_seconds,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": PLATFORM_UID,
            "runAsGroup": PLATFORM_UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
    }
    if settings.runtime_class:
        spec["runtimeClassName"] = settings.runtime_class
    if secrets := settings.lists("image_pull_secrets"):
        spec["imagePullSecrets"] = secrets
    labels = {
        "app.kubernetes.io/name": "nanogrid-probe",
        "app.kubernetes.io/managed-by": names.MANAGED_BY,
        names.LABEL_PROBE: kind,
    }
    metadata: Json = {"name": probe_name(kind, settings), "labels": labels, "annotations": {}}
    return place({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}, settings)
