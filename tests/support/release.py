"""The installed release in the cluster: its namespace and its operator."""

from nanogrid.types import Json
from scripts import devaccess
from support.kubectl import eventually, kubectl, kubectl_json

RELEASE, RELEASE_NAMESPACE = devaccess.RELEASE, devaccess.NAMESPACE
IN_RELEASE = ("-n", RELEASE_NAMESPACE)
OPERATOR = f"deploy/{RELEASE}"
OPERATOR_LABEL = "app.kubernetes.io/component=operator"


def kill_operator() -> None:
    """Delete the operator's pods without grace, as a lost node does; the Deployment makes new."""
    pods = kubectl(*IN_RELEASE, "get", "pods", "-o", "name", "-l", OPERATOR_LABEL).split()
    kubectl(*IN_RELEASE, "delete", *pods, "--force", "--grace-period=0", "--ignore-not-found")


def stop_operator() -> None:
    """Scale the operator to zero; returns when its pods are gone."""
    kubectl(*IN_RELEASE, "scale", OPERATOR, "--replicas=0")
    kubectl(*IN_RELEASE, "wait", "pod", "-l", OPERATOR_LABEL, "--for=delete", "--timeout=180s")


def start_operator(replicas: int = 1) -> None:
    """Scale the operator up; returns when it is ready."""
    kubectl(*IN_RELEASE, "scale", OPERATOR, f"--replicas={replicas}")
    wait_for_operator()


def wait_for_operator(seconds: int = 180) -> None:
    """Wait until the operator's Deployment has rolled out."""
    kubectl(*IN_RELEASE, "rollout", "status", OPERATOR, f"--timeout={seconds}s")


def lease() -> Json:
    """The spec of the operator's Lease."""
    found: Json = kubectl_json(*IN_RELEASE, "get", "lease", RELEASE)["spec"]
    return found


def leader_pod(spec: Json) -> str:
    """The name of the pod that holds a Lease; its uid follows. Empty without a holder."""
    return str(spec.get("holderIdentity") or "").partition("_")[0]


def operator_pods() -> list[str]:
    """The names of the operator's pods."""
    found = kubectl(*IN_RELEASE, "get", "pods", "-l", OPERATOR_LABEL, "-o", "name")
    return [name.removeprefix("pod/") for name in found.split()]


def settled_lease(replicas: int = 1) -> Json:
    """The Lease, held by one of so many pods: an earlier handover has ended."""

    def settled() -> Json | None:
        pods, now = operator_pods(), lease()
        return now if len(pods) == replicas and leader_pod(now) in pods else None

    found: Json = eventually("one of the operator's pods holds the Lease", settled)
    return found


def with_new_holder(before: Json) -> Json | None:
    """The Lease, if another holder has it."""
    now = lease()
    return now if now.get("holderIdentity") not in ("", None, before["holderIdentity"]) else None


def acquired(spec: Json) -> str:
    """The line of the log in which the leader has acquired the Lease, and why."""
    lines = kubectl(*IN_RELEASE, "logs", leader_pod(spec)).splitlines()
    return next(line for line in lines if f"acquired Lease {RELEASE}" in line)
