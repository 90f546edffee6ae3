"""A session of a test: started through the router, with its records and artifacts in S3."""

import json

from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.dev_objects import object_sizes, read_object
from support.kubectl import Namespace
from support.sessions import Answer, Caller, path_of, ready, token_of

SMALL = {"limits": {"cpu": "1", "memory": "192Mi"}, "requests": {"cpu": "50m", "memory": "96Mi"}}


def start(namespace: Namespace, url: str, manifest: Json) -> tuple[Caller, str, Json]:
    """Apply a session and wait until it is ready; returns a caller, the path and the status."""
    name = manifest["metadata"]["name"]
    namespace.apply(manifest)
    status = ready(namespace, name)
    return Caller(url, token_of(namespace, status)), path_of(namespace, name), status


def records(namespace: Namespace, dev: DevAccess, session_id: str) -> dict[str, Json]:
    """The execution records in S3 by file name."""
    prefix = namespace.key(names.session_prefix(session_id) + names.SESSION_DEBUG)
    return {name: json.loads(read_object(dev, prefix + name)) for name in object_sizes(dev, prefix)}


def artifacts(namespace: Namespace, dev: DevAccess, session_id: str) -> set[str]:
    """The names of the artifacts in S3."""
    prefix = namespace.key(names.session_prefix(session_id) + names.SESSION_ARTIFACTS)
    return set(object_sizes(dev, prefix))


def objects_of_sessions(namespace: Namespace) -> list[str]:
    """Pods, Services, Ingresses and token Secrets of sessions in the namespace."""
    return namespace.kubectl(
        "get", "pods,services,ingresses,secrets", "-l", names.LABEL_JOB_UID, "-o", "name"
    ).split()


def answer_with(caller: Caller, path: str, status: int) -> Answer | None:
    """The answer if it has this status."""
    answer = caller.call("GET", path)
    return answer if answer.status == status else None
