"""Paths, selectors and answers of an API server for tests. Pure."""

from datetime import UTC, datetime

from aiohttp import web

from nanogrid import names
from nanogrid.types import Json


def a_kind(kind: str, plural: str) -> Json:
    """A kind, as the API server describes it to Kopf."""
    verbs = ["get", "list", "watch", "create", "patch", "delete"]
    singular = kind.lower()
    names_of = {"name": plural, "singularName": singular, "kind": kind}
    return {**names_of, "namespaced": kind != "Namespace", "verbs": verbs}


_VERSION = {"groupVersion": names.API_VERSION, "version": names.VERSION}
DISCOVERY: Json = {
    "/api": {"versions": ["v1"]},
    "/api/v1": {"resources": [a_kind("Pod", "pods"), a_kind("Namespace", "namespaces")]},
    "/apis": {
        "groups": [{"name": names.GROUP, "versions": [_VERSION], "preferredVersion": _VERSION}]
    },
    f"/apis/{names.API_VERSION}": {"resources": [a_kind(names.KIND, names.PLURAL)]},
}


def pod_status(phase: str, containers: list[Json]) -> Json:
    scheduled = {"type": "PodScheduled", "status": "True"}
    return {"phase": phase, "conditions": [scheduled], "containerStatuses": containers}


def is_collection(path: str) -> bool:
    parts = path.strip("/").split("/")
    start = 2 if parts[0] == "api" else 3
    rest = parts[start:]
    return len(rest) == 1 or (len(rest) == 3 and rest[0] == "namespaces")


def inside(at: str, path: str) -> bool:
    base, _, plural = path.rpartition("/")
    return at.rpartition("/")[0] == path or (
        "/namespaces/" not in path and at.startswith(f"{base}/") and f"/{plural}/" in at
    )


def failure(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code)


def now_text() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
