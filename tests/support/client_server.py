"""An API server for tests of the client: LIST, WATCH, 410, lost answers, logs."""

import json
import queue
import threading
import time
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import urllib3

from nanogrid import names
from nanogrid.cli.http_serving import QuietHandler
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.connection import Connection
from nanogrid.types import Json
from support import port_forward
from support.api_store import NAMESPACE, ApiStore, run_inline
from support.fast_timing import fast_timing
from support.selectors import selected_by

METADATA_LIST = "as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
LISTED = (names.PLURAL, names.FUNCTION_PLURAL, "pods", "secrets")


class LostAnswer(Exception):
    """The connection is closed without an answer."""


class FakeApi(ApiStore, ThreadingHTTPServer):
    """An API server over the store. The attributes set its faults."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        ApiStore.__init__(self)
        ThreadingHTTPServer.__init__(self, ("127.0.0.1", 0), _Handler)
        self.requests: list[tuple[str, str]] = []
        self.sent_bytes = 0  # of all answers with JSON
        self.knows_metadata = True  # whether the server can list only metadata
        self.lose_creates = 0  # number of creates that succeed without an answer
        self.refusals: queue.SimpleQueue[tuple[int, Json]] = queue.SimpleQueue()
        self.cut_watch_after: int | None = None  # events; then the connection ends, once
        self.page = 500
        self.minor = "99+"  # minor version of Kubernetes
        self.logs: dict[str, str] = {}  # by pod; "E " begins a line of stderr
        self.splits_logs = False  # whether the server can send one stream of a log
        self.cut_logs: list[int] = []  # each breaks a log after this number of bytes
        self.operator: Callable[[ApiStore, str, Json], None] | None = run_inline
        self.allowed = True
        self.reviews: list[Json] = []  # access reviews
        self.pods = port_forward.ForwardedPods()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def cluster(self, namespace: str = NAMESPACE) -> Cluster:
        """A connection without credentials, whose pauses take no time."""
        connection = Connection(self.url, urllib3.PoolManager(), namespace, _Settings(), False)
        return Cluster(connection, fast_timing())

    def handle_error(self, request: object, client_address: object) -> None:
        return  # clients that close their connections, and lost answers


class _Settings:
    """In place of the kubernetes package's configuration: no credentials."""

    def auth_settings(self) -> Json:
        return {}


class _Handler(QuietHandler):
    server: FakeApi
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for an acknowledgement

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def do_PATCH(self) -> None:
        self._answer(self._patch)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, do: Callable[[str, dict[str, str], Json], tuple[int, Json] | None]) -> None:
        parts = urlsplit(self.path)
        self.server.requests.append((self.command, self.path))
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length) or b"{}")
        try:
            refusal = self.server.refusals.get_nowait()
        except queue.Empty:
            refusal = None
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        try:
            answer = refusal or do(parts.path, query, body)
        except LostAnswer:
            self.close_connection = True
            return
        if answer is not None:
            self._send(*answer)

    def _send(self, status: int, body: Json) -> None:
        data = json.dumps(body).encode()
        self.server.sent_bytes += len(data)
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        if "retryAfter" in body:
            self.send_header("Retry-After", str(body["retryAfter"]))
        self.end_headers()
        self.wfile.write(data)

    def _get(self, path: str, query: dict[str, str], body: Json) -> tuple[int, Json] | None:
        if path == "/version":
            return 200, {"gitVersion": "v1.99.0", "major": "1", "minor": self.server.minor}
        if path.endswith("/portforward"):
            pod = path.split("/")[-2]
            if pod not in self.server.pods.ports:
                return failure(404, "NotFound", f'pods "{pod}" not found')
            port_forward.serve(self, self.server.pods, pod, int(query["ports"]))
            return None
        if path.endswith("/log"):
            return self._log(path.removesuffix("/log"), query.get("stream", ""))
        if query.get("watch"):
            return self._watch(path, query)
        with self.server.changed:
            if path in self.server.objects:
                return 200, self.server.objects[path]
            if path.rpartition("/")[2] in LISTED:
                return 200, self._page(path, query)
        return failure(404, "NotFound", f"{path} not found")

    def _page(self, path: str, query: dict[str, str]) -> Json:
        found = [body for at, body in self.server.objects.items() if chosen(at, body, path, query)]
        begin = int(query.get("continue", 0))
        end = begin + min(int(query["limit"]), self.server.page)
        metadata = {"resourceVersion": str(self.server.version)}
        metadata |= {"continue": str(end)} if end < len(found) else {}
        items = found[begin:end]
        if self.server.knows_metadata and METADATA_LIST in self.headers["Accept"]:
            items = [{"metadata": one["metadata"]} for one in items]
        return {"items": items, "metadata": metadata}

    def _watch(self, path: str, query: dict[str, str]) -> tuple[int, Json] | None:
        api = self.server
        position = int(query["resourceVersion"])
        if position < api.oldest - 1:
            return failure(410, "Expired", "too old resource version")
        self._chunked()
        deadline, sent = time.monotonic() + float(query["timeoutSeconds"]), 0
        while True:
            with api.changed:
                fresh = [one for one in api.history if one[0] > position]
                if not fresh:
                    left = deadline - time.monotonic()
                    if left <= 0 or not api.changed.wait(left):
                        break
                    if position < api.oldest - 1 and not [v for v, *_ in api.history]:
                        gone = failure(410, "Expired", "too old resource version")[1]
                        self._chunk({"type": "ERROR", "object": gone | {"code": 410}})
                        break
                    continue
            for version, kind, at, body in fresh:
                position = version
                if chosen(at, body, path, query):
                    if api.cut_watch_after is not None and sent >= api.cut_watch_after:
                        api.cut_watch_after = None
                        raise LostAnswer
                    self._chunk({"type": kind, "object": body})
                    sent += 1
        self.wfile.write(b"0\r\n\r\n")
        return None

    def _log(self, pod: str, stream: str) -> tuple[int, Json] | None:
        text = self.server.logs.get(pod.rpartition("/")[2])
        if text is None:
            return failure(400, "BadRequest", "container is waiting to start")
        if stream and not self.server.splits_logs:
            return failure(422, "Invalid", "stream: Forbidden: may not be specified")
        lines = text.splitlines(keepends=True)
        if stream:
            lines = [one for one in lines if one.startswith("E ") == (stream == "Stderr")]
        self._chunked()
        data = "".join(one.removeprefix("E ") for one in lines).encode()
        if self.server.cut_logs:
            data = data[: self.server.cut_logs.pop(0)]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            raise LostAnswer
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.write(b"0\r\n\r\n")
        return None

    def _chunked(self) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _chunk(self, body: Json) -> None:
        data = json.dumps(body).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def _post(self, path: str, query: dict[str, str], body: Json) -> tuple[int, Json]:
        if path.endswith("subjectaccessreviews"):
            self.server.reviews.append(body)
            return 201, body | {"status": {"allowed": self.server.allowed}}
        where = f"{path}/{body['metadata']['name']}"
        with self.server.changed:
            if where in self.server.objects:
                return failure(409, "AlreadyExists", f"{where} already exists")
            made = self.server.put(where, body)
        if self.server.operator is not None and path.endswith(names.PLURAL):
            work = (self.server, where, made)
            threading.Thread(target=self.server.operator, args=work, daemon=True).start()
        if self.server.lose_creates > 0:
            self.server.lose_creates -= 1
            raise LostAnswer
        return 201, made

    def _patch(self, path: str, query: dict[str, str], body: Json) -> tuple[int, Json]:
        if refusal := self._refusal(path, body.get("metadata", {}).get("uid")):
            return refusal
        found = self.server.objects[path]
        return 200, self.server.put(path, found | {"spec": found["spec"] | body.get("spec", {})})

    def _delete(self, path: str, query: dict[str, str], body: Json) -> tuple[int, Json]:
        if refusal := self._refusal(path, body.get("preconditions", {}).get("uid")):
            return refusal
        return 200, self.server.remove(path)

    def _refusal(self, path: str, uid: str | None) -> tuple[int, Json] | None:
        """Refuses a missing object, and one with another uid than the request asks for."""
        found = self.server.objects.get(path)
        if found is None:
            return failure(404, "NotFound", f"{path} not found")
        if uid not in (None, found["metadata"]["uid"]):
            return failure(409, "Conflict", "another uid")
        return None


def failure(status: int, reason: str, message: str) -> tuple[int, Json]:
    """A Status object of the API server."""
    return status, {"kind": "Status", "reason": reason, "message": message, "code": status}


def chosen(at: str, body: Json, path: str, query: dict[str, str]) -> bool:
    """Whether an object belongs to a collection and fits the selectors."""
    base, _, plural = path.rpartition("/")
    inside = at.rpartition("/")[0] == path or (
        "/namespaces/" not in path and at.startswith(base) and f"/{plural}/" in at
    )
    return inside and selected_by(body, query)
