"""The installed release in the cluster: its namespace and its operator."""

from scripts import devaccess
from support.kubectl import kubectl

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
