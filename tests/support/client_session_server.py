"""A session's HTTP API for tests of the client: it runs code, and it can break connections."""

import base64
import contextlib
import io
import json
import queue
from collections.abc import Callable
from http.server import ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

from nanogrid import names
from nanogrid.cli.http_serving import QuietHandler
from nanogrid.types import Json
from support.api_store import NAMESPACE, ApiStore

TOKEN = "ngs_token"


class FakeSession(ThreadingHTTPServer):
    """One session under every name. The attributes set its faults."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.contexts: dict[str, Json] = {}
        self.files: dict[str, bytes] = {}
        self.links: list[str] = []
        self.listed = 1000  # entries of a list
        self.answers: dict[str, Json] = {}  # by Idempotency-Key
        self.bodies: list[Json] = []
        self.requests: list[tuple[str, str]] = []
        self.running: int | None = None
        self.ended = False
        self.on_end: Callable[[str], object] = lambda name: None  # receives the session's name
        self.cut_streams_after: int | None = None  # events; then the connection ends, once
        self.refusals: queue.SimpleQueue[tuple[int, str, str]] = queue.SimpleQueue()

    @property
    def router(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        return  # connections that the server breaks

    def execute(self, body: Json) -> Json:
        """Run code in this process; the result has its text and the displayed objects."""
        shown: list[Json] = []
        space = self.contexts.setdefault(body["context"], {}) if "context" in body else {}
        space["display"] = shown.append
        out, error = io.StringIO(), None
        with contextlib.redirect_stdout(out):
            try:
                exec(body["code"], space)
            except Exception as e:
                error = f"{type(e).__name__}: {e}"
        return {
            "execution_num": len(self.answers) + 1,
            "status": "FAILED" if error else "SUCCESS",
            "success": error is None,
            "reason": "NonZeroExit" if error else "Completed",
            "stdout": out.getvalue(),
            "stderr": error or "",
            "error": error,
            "exit_code": None,
            "results": shown,
            "durationMillis": 1,
            "sandboxRestarted": False,
        }


def ready_session(api: ApiStore, name: str, **more: str) -> None:
    """Write the status of a ready session with ``more`` fields, and its Secret."""
    path = api.job_path(name)
    secret = {"metadata": {"name": f"{name}-s"}, "data": {"token": _encoded(TOKEN)}}
    api.put(f"/api/v1/namespaces/{NAMESPACE}/secrets/{name}-s", secret)
    host = "http://router.system.svc:8080"
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "True"}],
        "session": {
            "url": host + names.session_path(NAMESPACE, name),
            "tokenSecretName": f"{name}-s",
        },
    }
    api.put(path, api.objects[path] | {"status": status | more})


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


class _Handler(QuietHandler):
    server: FakeSession
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for an acknowledgement

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_PUT = do_DELETE = do_GET

    def _answer(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)
        base = names.session_path(NAMESPACE, "")
        path = "/" + parts.path.removeprefix(base).partition("/")[2]
        self.server.requests.append((self.command, path))
        with contextlib.suppress(queue.Empty):
            self._error(*self.server.refusals.get_nowait())
            return
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._error(401, "Unauthorized", "no valid token")
        elif self.server.ended:
            self._error(410, "IdleTimeout", "the session has ended")
        elif path.startswith("/files/"):
            self._file(unquote(path.removeprefix("/files/")), data)
        elif path == "/execute":
            self._execute(json.loads(data))
        else:
            self._other(path, parse_qs(parts.query), data)

    def _other(self, path: str, query: Json, data: bytes) -> None:
        server = self.server
        if path == "/health":
            self._send(200, {"status": "healthy", "running": server.running})
        elif path == "/files":
            self._list(query.get("path", [""])[0])
        elif path == "/contexts":
            self._send(200, {"contexts": [{"name": name} for name in server.contexts]})
        elif path == "/file-sync":
            server.bodies.append(json.loads(data))
            self._send(200, {"status": "success", "files": 2, "bytes": 7})
        elif path == "/end":
            server.bodies.append(json.loads(data))
            base = names.session_path(NAMESPACE, "")
            server.on_end(self.path.removeprefix(base).partition("/")[0])
            self._send(202, {"status": "ending"})
        elif path.startswith(("/executions/", "/contexts/")):
            self._send(202, {})
        else:
            self._error(404, "NotFound", path)

    def _list(self, folder: str) -> None:
        files = self.server.files
        if folder in files:
            self._error(409, "PathConflict", f"{folder} is not a folder")
            return
        top = f"{folder}/" if folder else ""
        below = sorted(path for path in files if path.startswith(top))
        if folder and not below:
            self._error(404, "FileNotFound", f"{folder} does not exist")
            return
        parents = {"/".join(p.split("/")[:n]) for p in below for n in range(1, p.count("/") + 1)}
        found = [{"path": p, "bytes": 0, "type": "directory"} for p in parents if p.startswith(top)]
        found += [{"path": p, "bytes": len(files[p]), "type": "file"} for p in below]
        found += [{"path": p, "bytes": 1, "type": "link"} for p in self.server.links]
        more = self.server.listed < len(found)
        found = found[: self.server.listed]
        self._send(200, {"files": found, "count": len(found), "truncated": more})

    def _file(self, path: str, data: bytes) -> None:
        if self.command == "PUT":
            self.server.files[path] = data
            self._send(201, {"path": path, "bytes": len(data)})
        elif any(one.startswith(f"{path}/") for one in self.server.files):
            self._error(409, "PathConflict", f"{path} is a folder")
        elif path not in self.server.files:
            self._error(404, "FileNotFound", f"{path} does not exist")
        elif self.command == "DELETE":
            del self.server.files[path]
            self._send(200, {"path": path, "deleted": True})
        else:
            self._raw(200, self.server.files[path])

    def _execute(self, body: Json) -> None:
        server = self.server
        server.bodies.append(body)
        key = self.headers["Idempotency-Key"]
        if key not in server.answers:
            server.answers[key] = server.execute(body)
        answer = server.answers[key]
        events: list[tuple[str, Json]] = [("started", {"execution_num": 1})]
        events += [("stdout", {"text": c}) for c in answer["stdout"].splitlines(True)]
        events.append(("end", answer))
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for number, (name, data) in enumerate(events):
            if server.cut_streams_after == number:
                server.cut_streams_after = None
                self.close_connection = True
                return
            text = f": heartbeat\n\nevent: {name}\ndata: {json.dumps(data)}\n\n".encode()
            # Two pieces, because an event may arrive in several.
            for piece in (text[:20], text[20:]):
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _send(self, status: int, body: Json) -> None:
        self._raw(status, json.dumps(body).encode())

    def _error(self, status: int, reason: str, message: str) -> None:
        self._send(status, {"error": {"reason": reason, "message": message}})

    def _raw(self, status: int, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
