"""A gateway that sends prepared answers, for tests of its client and of the command line."""

import json
from http.server import ThreadingHTTPServer

from nanogrid.cli.http_serving import QuietHandler
from nanogrid.types import Json
from support.api_store import NAMESPACE, result_of

JOB = {"metadata": {"name": "n", "namespace": NAMESPACE, "uid": "u"}, "spec": {}}
RESULT = result_of(JOB, stdout="done\n")
PENDING = (202, {"phase": "Running", "links": {"self": "/runs/r1"}})


class FakeGateway(ThreadingHTTPServer):
    """Sends the answers of ``script``, one per request; None closes the connection.

    The last answer stays. ``seen`` has method, path, body and token of each request.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[tuple[int, Json] | None] = []
        self.seen: list[tuple[str, str, Json, str]] = []
        self.headers: list[dict[str, str]] = []  # of the same requests, with names in lower case
        self.retry_after = "0"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        return  # clients that close their connections


class _Handler(QuietHandler):
    server: FakeGateway
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # otherwise each answer waits 40 ms for an acknowledgement

    def do_GET(self) -> None:
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_json = self.headers.get("Content-Type", "") == "application/json"
        body = json.loads(sent) if is_json else {"raw": sent}
        token = self.headers.get("Authorization", "")
        self.server.seen.append((self.command, self.path, body, token))
        self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
        script = self.server.script
        answer = script.pop(0) if len(script) > 1 else script[0]
        if answer is None:
            self.close_connection = True
            return
        data = json.dumps(answer[1]).encode()
        self.send_response(answer[0])
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Retry-After", self.server.retry_after)
        self.end_headers()
        self.wfile.write(data)

    do_POST = do_DELETE = do_GET
