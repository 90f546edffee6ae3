"""Paths of the collections that the client uses. Pure."""

from nanogrid import names
from nanogrid.kube.conventions import CORE, JOBS, collection


def jobs(namespace: str | None = None) -> str:
    """Path of the ExecutionJobs of one namespace, or of all."""
    return collection(JOBS, names.PLURAL, namespace)


def functions(namespace: str | None = None) -> str:
    """Path of the Functions of one namespace, or of all."""
    return collection(JOBS, names.FUNCTION_PLURAL, namespace)


def pods(namespace: str | None = None) -> str:
    """Path of the pods of one namespace, or of all."""
    return collection(CORE, "pods", namespace)


def secrets(namespace: str) -> str:
    """Path of a namespace's Secrets."""
    return collection(CORE, "secrets", namespace)


def events(namespace: str) -> str:
    """Path of a namespace's Events."""
    return collection(CORE, "events", namespace)
