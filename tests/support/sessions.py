"""A session as its clients use it: over HTTP, through the router, from outside the cluster."""

import base64
import http.cookiejar
import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import NAMESPACE, RELEASE, PortForward
from support.kubectl import FINISH_SECONDS, Namespace, condition, eventually, job, kubectl_json

ROUTER_PORT = 8080
TIMEOUT_SECONDS = 120


@dataclass(frozen=True)
class Answer:
    """An HTTP answer; ``body`` is decoded JSON."""

    status: int
    body: Json
    headers: dict[str, str]


@dataclass
class Caller:
    """A client of the router with a token; it keeps the cookies that it receives."""

    base: str
    token: str = ""
    jar: http.cookiejar.CookieJar = field(default_factory=http.cookiejar.CookieJar)

    def call(
        self, method: str, path: str, body: Any = None, *, raw: bytes | None = None, **headers: str
    ) -> Answer:
        """Send one request; an HTTP error is returned as an answer."""
        data = raw if raw is not None else (None if body is None else json.dumps(body).encode())
        request = urllib.request.Request(self.base + path, data=data, method=method)
        if raw is None and body is not None:
            request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPCookieProcessor(self.jar)
        )
        try:
            with opener.open(request, timeout=TIMEOUT_SECONDS) as answer:
                return _answer(answer.status, answer.read(), dict(answer.headers))
        except urllib.error.HTTPError as error:
            return _answer(error.code, error.read(), dict(error.headers))

    def execute(self, path: str, code: str, **more: Any) -> Json:
        """POST /execute; the status is 200 even if the code fails."""
        answer = self.call("POST", f"{path}/execute", {"code": code, **more})
        assert answer.status == 200, answer
        return answer.body


def _answer(status: int, content: bytes, headers: dict[str, str]) -> Answer:
    try:
        body = json.loads(content or b"{}")
    except ValueError:
        body = {"text": content.decode(errors="replace")}
    return Answer(status, body, headers)


@contextmanager
def router() -> Iterator[str]:
    """The router's URL on this machine."""
    with PortForward(NAMESPACE, f"svc/{RELEASE}-router", ROUTER_PORT) as forward:
        yield forward.wait_url()


def session(name: str, rules: Json | None = None, **spec: Any) -> Json:
    """A session's manifest; ``rules`` is its session block."""
    return job(name, mode="Session", session=rules or {}, **spec)


def ready(namespace: Namespace, name: str, timeout: int = FINISH_SECONDS) -> Json:
    """Wait for a session with kubectl wait; returns its status."""
    namespace.kubectl("wait", f"ej/{name}", "--for=condition=Ready", f"--timeout={timeout}s")
    status = namespace.status(name)
    assert condition(status, "Ready")["reason"] == "SessionReady"
    return status


def token_of(namespace: Namespace, status: Json) -> str:
    """The session's token, from the Secret that the status names."""
    secret = kubectl_json(
        "--namespace", namespace.name, "get", "secret", status["session"]["tokenSecretName"]
    )
    return base64.b64decode(secret["data"]["token"]).decode()


def early_token(namespace: Namespace, name: str) -> str:
    """The token of a session that starts: its Secret is there before its pod and its status."""
    uid = namespace.kubectl("get", "ej", name, "-o", "jsonpath={.metadata.uid}")
    return token_of(namespace, {"session": {"tokenSecretName": names.session_object(name, uid)}})


def starting(namespace: Namespace, url: str, manifest: Json) -> Caller:
    """Apply a session and ask it while it starts, as a client does; returns when it is ready."""
    name = manifest["metadata"]["name"]
    namespace.apply(manifest)
    caller = Caller(url, eventually("its token", partial(early_token, namespace, name)))
    path = f"{path_of(namespace, name)}/health"
    # 503: the router knows the session, and its pod does not answer yet.
    eventually("it starts", lambda: caller.call("GET", path).status in (200, 503))
    ready(namespace, name)
    return caller


def path_of(namespace: Namespace, name: str) -> str:
    """The session's path at the router."""
    return names.session_path(namespace.name, name)
