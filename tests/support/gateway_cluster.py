"""A small API server for the gateway.

It implements what the gateway relies on: optimistic locking, merge patches, label and field
selectors, pages, watches, logs, and reviews of tokens and permissions.
"""

import base64
import copy
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml

from nanogrid import names
from nanogrid.cli.http_serving import QuietHandler
from nanogrid.types import Json
from support.builders import merge_patch
from support.selectors import selected_by

NAMESPACE = "functions"


def key_of(namespace: str, name: str) -> str:
    """The key of an object: its name, with its namespace if that is not the gateway's."""
    return name if namespace == NAMESPACE else f"{namespace}/{name}"


class Cluster:
    """The state; every change has a number and wakes the watches."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Json] = {}  # plural, key_of
        self.logs: dict[str, Iterable[bytes]] = {}  # key_of the pod: chunks
        self.tokens: dict[str, str] = {}  # token: user
        self.rights: set[tuple[str, str, str]] = set()  # user, verb, plural: in NAMESPACE
        # The same in other namespaces, which come first; empty: in all.
        self.rights_in: set[tuple[str, str, str, str]] = set()
        self.reviewed: list[tuple[str, str]] = []  # user and namespace of each review of a right
        self.reviews = 0
        self.requests: list[str] = []
        self.lose_answers = 0  # creations that happen although their answers are lost
        self.on_create: Callable[[Json], None] = lambda job: None
        self.changed = threading.Condition()
        self._events: list[tuple[int, str, str, Json]] = []
        self._version = 100

    def write(self, plural: str, body: Json, *, create: bool = False) -> Json:
        with self.changed:
            self._version += 1
            meta = body["metadata"]
            meta["resourceVersion"] = str(self._version)
            meta.setdefault("namespace", NAMESPACE)
            if create:
                meta["uid"] = str(uuid.uuid4())
                meta["creationTimestamp"] = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
            self.objects[plural, key_of(meta["namespace"], meta["name"])] = body
            kind = "ADDED" if create else "MODIFIED"
            self._events.append((self._version, plural, kind, copy.deepcopy(body)))
            self.changed.notify_all()
            return copy.deepcopy(body)

    def remove(self, plural: str, name: str) -> None:
        with self.changed:
            self._version += 1
            body = self.objects.pop((plural, name))
            self._events.append((self._version, plural, "DELETED", body))
            self.changed.notify_all()

    def events_after(self, version: int) -> list[tuple[int, str, str, Json]]:
        return [event for event in self._events if event[0] > version]

    @property
    def version(self) -> str:
        return str(self._version)

    def job(self, request_id: str) -> Json:
        """The job of a request, by its requestId."""
        for (plural, _), body in list(self.objects.items()):
            if plural == names.PLURAL and body["spec"].get("requestId") == request_id:
                return body
        raise KeyError(request_id)

    def jobs(self, request_id: str) -> int:
        bodies = [b for (plural, _), b in list(self.objects.items()) if plural == names.PLURAL]
        return sum(b["spec"].get("requestId") == request_id for b in bodies)


class _Refusal(Exception):
    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for an acknowledgement
    cluster: Cluster
    open_sockets: set[Any]

    def setup(self) -> None:
        super().setup()
        self.open_sockets.add(self.connection)

    def _serve(self) -> None:
        url = urlsplit(self.path)
        query = {k: v[0] for k, v in parse_qs(url.query).items()}
        parts = url.path.strip("/").split("/")
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else {}
        verb = "WATCH" if query.get("watch") == "true" else self.command
        self.cluster.requests.append(f"{verb} {url.path}")
        try:
            if parts[-1] == "log":
                return self._log(key_of(parts[-4], parts[-2]))
            if parts[-1].endswith("reviews"):
                return self._answer(201, self._review(parts, body))
            if "namespaces" in parts:
                at = parts.index("namespaces") + 2
                query["namespace"] = parts[at - 1]
            else:
                at = len(parts) - 1
            plural, name = parts[at], parts[at + 1] if len(parts) > at + 1 else ""
            if verb == "WATCH":
                return self._watch(plural, query)
            code, answer = self._object(plural, name, body, query)
        except _Refusal as e:
            code, answer = e.code, {"kind": "Status", "code": e.code, "message": str(e)}
        self._answer(code, answer)

    do_GET = do_POST = do_PATCH = do_DELETE = _serve

    def _answer(self, code: int, body: Json) -> None:
        if self.command == "POST" and code == 201 and self.cluster.lose_answers > 0:
            self.cluster.lose_answers -= 1
            self.close_connection = True
            return
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _object(self, plural: str, name: str, body: Json, query: Json) -> tuple[int, Json]:
        cluster = self.cluster
        if self.command == "POST":
            body["metadata"]["namespace"] = query["namespace"]
            return 201, self._create(plural, body)
        if not name:
            return 200, self._list(plural, query)
        with cluster.changed:
            found = cluster.objects.get((plural, key_of(query["namespace"], name)))
            if found is None:
                raise _Refusal(404, f"{plural} {name} not found")
            if self.command == "PATCH":
                wanted = body.get("metadata", {}).get("resourceVersion")
                if wanted not in (None, found["metadata"]["resourceVersion"]):
                    raise _Refusal(409, "the object has been modified")
                return 200, cluster.write(plural, merge_patch(found, body))
            if self.command == "DELETE":
                only = body["preconditions"]
                if any(found["metadata"][key] != value for key, value in only.items()):
                    raise _Refusal(409, "the preconditions differ")
                cluster.remove(plural, key_of(query["namespace"], name))
            return 200, found

    def _create(self, plural: str, body: Json) -> Json:
        cluster = self.cluster
        with cluster.changed:
            meta = body["metadata"]
            if (plural, key_of(meta["namespace"], meta["name"])) in cluster.objects:
                raise _Refusal(409, "it exists")
            created = cluster.write(plural, body, create=True)
        if plural == names.PLURAL:
            cluster.on_create(created)
        return created

    def _list(self, plural: str, query: Json) -> Json:
        with self.cluster.changed:
            found = sorted(
                (name, body)
                for (kind, name), body in self.cluster.objects.items()
                if kind == plural and _selected(body, query)
            )
            meta = {"resourceVersion": self.cluster.version}
        limit = int(query.get("limit", 500))
        start = ""
        if token := query.get("continue"):
            try:
                start = base64.b64decode(token, b"-_", validate=True).decode()
            except ValueError:
                raise _Refusal(400, "continue key is not valid") from None
        rest = [(name, body) for name, body in found if name > start]
        if len(rest) > limit:
            last = rest[limit - 1][0]
            meta["continue"] = base64.urlsafe_b64encode(last.encode()).decode()
        return {"metadata": meta, "items": [body for _, body in rest[:limit]]}

    def _watch(self, plural: str, query: Json) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        version = int(query["resourceVersion"])
        deadline = time.monotonic() + float(query["timeoutSeconds"])
        while time.monotonic() < deadline:
            with self.cluster.changed:
                fresh = self.cluster.events_after(version)
                if not fresh:
                    self.cluster.changed.wait(0.5)
            for number, kind, event, body in fresh:
                version = number
                if kind == plural and _selected(body, query):
                    line = json.dumps({"type": event, "object": body}).encode() + b"\n"
                    self.wfile.write(line)
                    self.wfile.flush()

    def _log(self, pod: str) -> None:
        if pod not in self.cluster.logs:
            raise _Refusal(404, f"pods {pod} not found")
        self.send_response(200)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for chunk in self.cluster.logs[pod]:
            self.wfile.write(chunk)
            self.wfile.flush()
            time.sleep(0.05)

    def _review(self, parts: list[str], body: Json) -> Json:
        self.cluster.reviews += 1
        spec = body["spec"]
        if parts[-1] == "tokenreviews":
            user = self.cluster.tokens.get(spec["token"])
            known: Json = {"authenticated": user is not None, "audiences": spec.get("audiences")}
            return {"status": known | ({"user": {"username": user}} if user else {})}
        asked = spec["resourceAttributes"]
        namespace = asked["namespace"]
        local = parts[-3:] == ["namespaces", namespace, "localsubjectaccessreviews"]
        if not local and parts[-2:] != ["v1", "subjectaccessreviews"]:
            raise _Refusal(400, "spec.resourceAttributes.namespace must match namespace")
        self.cluster.reviewed.append((spec["user"], namespace))
        right = (spec["user"], asked["verb"], asked["resource"])
        own = right in self.cluster.rights and namespace == NAMESPACE
        other = not {(namespace, *right), ("", *right)}.isdisjoint(self.cluster.rights_in)
        return {"status": {"allowed": own or other}}


def _selected(body: Json, query: Json) -> bool:
    if query.get("namespace", "") not in ("", body["metadata"]["namespace"]):
        return False
    return selected_by(body, query)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client left; the tests check the gateway's side


@contextmanager
def serving(cluster: Cluster, directory: Path) -> Iterator[Path]:
    """Serve a cluster; yields the path of a kubeconfig for it."""
    handler = type("Handler", (_Handler,), {"cluster": cluster, "open_sockets": set()})
    server = _Server(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "fake",
        "clusters": [
            {"name": "fake", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        ],
        "users": [{"name": "fake", "user": {}}],
        "contexts": [{"name": "fake", "context": {"cluster": "fake", "user": "fake"}}],
    }
    path = directory / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    try:
        yield path
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
