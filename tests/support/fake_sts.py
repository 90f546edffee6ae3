"""A stand-in for STS and for the agent of EKS Pod Identity, which tests can make refuse."""

import json
import re
import ssl
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import ThreadingHTTPServer
from xml.sax.saxutils import escape

from nanogrid.cli.http_serving import QuietHandler, serving

ARN = "arn:aws:iam::222222222222:role/bucket-of-team-a"
OWN_ROLE = "arn:aws:iam::111111111111:role/pod"
BASE_KEY = "base-access-key"
BASE_SECRET = "base-secret-key"
WEB_TOKEN = "token-of-the-service-account"
AGENT_TOKEN = "token-for-the-agent"
AGENT_PATH = "/v1/credentials"


@dataclass
class Answers:
    """The behaviour of the server; tests change it while it runs."""

    external_id: str = ""  # that the trust policy asks for
    life: float = 3600.0  # seconds of the credentials
    clock: Callable[[], float] = time.time
    status: int = 200  # of AssumeRole
    code: str = "Fault"
    text: str = ""
    raw: bytes | None = None  # instead of an answer to AssumeRole, with `status`
    pause: float = 0.0  # seconds before each byte of `raw`
    asked: list[dict[str, str]] = field(default_factory=list)  # with `key` and `token`
    issued: dict[str, float] = field(default_factory=dict)  # when each session token ends


class FakeSts(ThreadingHTTPServer):
    """It gives the role to holders of the base key, of its two tokens, and to no others."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers = Answers()
        self.endpoint = f"{'https' if tls else 'http'}://127.0.0.1:{self.server_port}"
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: object, client_address: object) -> None:
        return  # a client that does not trust the certificate closes the connection

    def issue(self, name: str) -> dict[str, str]:
        """New credentials."""
        answers = self.answers
        end = answers.clock() + answers.life
        token = f"{name}-{len(answers.issued)}"
        answers.issued[token] = end
        return {
            "AccessKeyId": f"key-{token}",
            "SecretAccessKey": f"secret-{token}",
            "SessionToken": token,
            "Expiration": datetime.fromtimestamp(end, UTC).isoformat().replace("+00:00", "Z"),
        }


class _Handler(QuietHandler):
    server: FakeSts
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        authorized = self.headers.get("authorization") == AGENT_TOKEN
        if self.path != AGENT_PATH or not authorized:
            self._answer(403, b"access denied")
            return
        given = self.server.issue("agent")
        given["Token"] = given.pop("SessionToken")
        self._answer(200, json.dumps(given).encode())

    def do_POST(self) -> None:
        answers = self.server.answers
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        query = urllib.parse.urlsplit(self.path).query  # of obstore, which sends no form
        asked = dict(urllib.parse.parse_qsl(body or query))
        found = re.search(r"Credential=([^/]+)/", self.headers.get("authorization") or "")
        asked["key"] = found.group(1) if found else ""
        asked["token"] = self.headers.get("x-amz-security-token") or ""
        asked["path"] = self.path
        answers.asked.append(asked)
        if asked["Action"] == "AssumeRoleWithWebIdentity":
            known = (asked["WebIdentityToken"], asked["RoleArn"]) == (WEB_TOKEN, OWN_ROLE)
            code = "" if known and not asked["key"] else "InvalidIdentityToken"
            self._give(asked, "web", 400, code, "the token is not valid")
        elif answers.raw is not None:
            self._answer(answers.status, answers.raw)
        elif answers.status != 200:
            self._give(asked, "", answers.status, answers.code, answers.text)
        else:
            known = asked["key"] == BASE_KEY or asked["token"] in answers.issued
            trusted = asked.get("ExternalId", "") == answers.external_id
            said = f"User: x is not authorized to perform: sts:AssumeRole on resource: {ARN}"
            self._give(asked, "role", 403, "" if known and trusted else "AccessDenied", said)

    def _give(self, asked: dict[str, str], name: str, status: int, code: str, text: str) -> None:
        if code:
            error = f"<Error><Code>{code}</Code><Message>{escape(text)}</Message></Error>"
            self._answer(status, f"<ErrorResponse>{error}</ErrorResponse>".encode())
            return
        given = "".join(f"<{k}>{escape(v)}</{k}>" for k, v in self.server.issue(name).items())
        action = asked["Action"]
        text = f"<{action}Result><Credentials>{given}</Credentials></{action}Result>"
        space = 'xmlns="https://sts.amazonaws.com/doc/2011-06-15/"'
        self._answer(200, f"<{action}Response {space}>{text}</{action}Response>".encode())

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Location", "http://127.0.0.1:1/")  # counts for a redirect
        self.end_headers()
        if not self.server.answers.pause:
            self.wfile.write(body)
            return
        for byte in body:
            time.sleep(self.server.answers.pause)
            self.wfile.write(bytes([byte]))


@contextmanager
def fake_sts(tls: ssl.SSLContext | None = None) -> Iterator[FakeSts]:
    """A running server."""
    with serving(FakeSts(tls)) as server:
        yield server
