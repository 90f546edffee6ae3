"""The gateway as its callers use it: a URL, a token, and a function that prints its input."""

import http.client
import json
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from examples.gateway_client import Gateway
from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import NAMESPACE, RELEASE, PortForward
from support.hostile_archives import make
from support.kubectl import eventually, kubectl, kubectl_json
from support.release import IN_RELEASE

PORT = 8080
DEPLOYMENT = f"deploy/{RELEASE}-gateway"
TIMEOUT_SECONDS = 120
# Sleeps for a duration, or until a time; all nodes share this machine's clock.
ECHO = b"""\
import json, os, sys, time, uuid
data = json.load(open(os.environ["FUNCTION_INPUT"]))
time.sleep(max(data.get("sleep", 0), data.get("until", 0) - time.time()))
os.makedirs("output", exist_ok=True)
open("output/echo.json", "w").write(json.dumps(data))
print(uuid.uuid4(), file=sys.stderr)
print(len(json.dumps(data)), data.get("name", ""))
sys.exit(data.get("exit", 0))
"""


@contextmanager
def forwarded(target: str) -> Iterator[str]:
    """The URL, on this machine, of the gateway's Service or of one of its pods."""
    with PortForward(NAMESPACE, target, PORT) as forward:
        yield forward.wait_url()


@contextmanager
def a_token(*verbs_: str) -> Iterator[str]:
    """A token of a service account with rights on functions and runs only; default are all."""
    name = f"e2e-client-{uuid.uuid4().hex[:8]}"
    given = verbs_ or ("create", "get", "list", "patch", "delete")
    verbs = f"--verb={','.join(given)}"
    kinds = f"--resource=executionjobs.{names.GROUP},functions.{names.GROUP}"
    account = f"--serviceaccount={NAMESPACE}:{name}"
    try:
        kubectl(*IN_RELEASE, "create", "serviceaccount", name)
        kubectl(*IN_RELEASE, "create", "role", name, verbs, kinds)
        kubectl(*IN_RELEASE, "create", "rolebinding", name, f"--role={name}", account)
        user = f"--as=system:serviceaccount:{NAMESPACE}:{name}"
        # The API server learns of a new binding a moment later; the gateway caches its answer.
        for kind in (names.PLURAL, names.FUNCTION_PLURAL):
            right = (*IN_RELEASE, "auth", "can-i", given[0], f"{kind}.{names.GROUP}", user)
            eventually("the role applies", partial(kubectl, *right))
        yield kubectl(*IN_RELEASE, "create", "token", name, "--duration=1h").strip()
    finally:
        for kind in ("rolebinding", "role", "serviceaccount"):
            kubectl(*IN_RELEASE, "delete", kind, name, "--ignore-not-found")


@contextmanager
def uploaded(gateway: Gateway, code: bytes, **fields: str) -> Iterator[str]:
    """The functionId of a new function with this code; deletes it and its runs at the end."""
    form = {"runtime": "python", "memory": "64Mi", **fields}
    known = gateway.upload(make(("main.py", code)), **form)["functionId"]
    try:
        yield known
    finally:
        label = f"{names.LABEL_FUNCTION}={known}"
        kubectl(*IN_RELEASE, "delete", "ej", "-l", label, "--wait=false")
        kubectl(*IN_RELEASE, "delete", "fn", known, "--ignore-not-found")


def an_echo(gateway: Gateway) -> AbstractContextManager[str]:
    """The functionId of a new function that prints its input; see :func:`uploaded`."""
    return uploaded(gateway, ECHO)


@dataclass(frozen=True)
class GatewayAnswer:
    """A raw HTTP answer; ``seconds`` is the time until it arrived."""

    status: int
    headers: http.client.HTTPMessage
    body: Any
    seconds: float


def send(url: str, token: str, method: str, path: str, body: Json | None = None) -> GatewayAnswer:
    """Send one request on a new connection.

    Raises:
        OSError: the connection failed or was lost.
        http.client.HTTPException: the connection was lost during the answer.
    """
    host = urllib.parse.urlsplit(url).netloc
    connection = http.client.HTTPConnection(host, timeout=TIMEOUT_SECONDS)
    started = time.monotonic()
    try:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        connection.request(method, path, data, headers)
        answer = connection.getresponse()
        found = json.loads(answer.read())
        return GatewayAnswer(answer.status, answer.headers, found, time.monotonic() - started)
    finally:
        connection.close()


def jobs_of(function_id: str, request_id: str) -> list[Json]:
    """The jobs of a request."""
    listed = kubectl_json(*IN_RELEASE, "get", "ej", "-l", f"{names.LABEL_FUNCTION}={function_id}")
    return [j for j in listed["items"] if j["spec"]["requestId"] == request_id]
