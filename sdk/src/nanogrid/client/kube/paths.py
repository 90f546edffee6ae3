"""Paths of the collections that the client uses. Pure."""

import re
from typing import Final

from nanogrid import names
from nanogrid.client.configured import namespace_name
from nanogrid.client.errors import InvalidRequest
from nanogrid.kube.conventions import CORE, JOBS, collection

_NAME: Final = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


def named(path: str, name: str) -> str:
    """The path of one object of a collection.

    Raises:
        InvalidRequest: no object can have this name; in a path it could lead to another object.
    """
    if _NAME.fullmatch(name) is None:
        hint = "Names have only a-z, 0-9, - and dots."
        raise InvalidRequest(f"{name!r} is not the name of an object.", hint)
    return f"{path}/{name}"


def _in(base: str, plural: str, namespace: str | None) -> str:
    """Path of a collection.

    Raises:
        InvalidRequest: no namespace can have this name; in a path it could lead to other objects.
    """
    if namespace:
        namespace = namespace_name(namespace, "the namespace")
    return collection(base, plural, namespace)


def jobs(namespace: str | None = None) -> str:
    """Path of the ExecutionJobs of one namespace, or of all."""
    return _in(JOBS, names.PLURAL, namespace)


def functions(namespace: str | None = None) -> str:
    """Path of the Functions of one namespace, or of all."""
    return _in(JOBS, names.FUNCTION_PLURAL, namespace)


def pools(namespace: str | None = None) -> str:
    """Path of the ExecutionPools of one namespace, or of all."""
    return _in(JOBS, names.POOL_PLURAL, namespace)


def pods(namespace: str | None = None) -> str:
    """Path of the pods of one namespace, or of all."""
    return _in(CORE, "pods", namespace)


def secrets(namespace: str) -> str:
    """Path of a namespace's Secrets."""
    return _in(CORE, "secrets", namespace)


def events(namespace: str) -> str:
    """Path of a namespace's Events."""
    return _in(CORE, "events", namespace)
