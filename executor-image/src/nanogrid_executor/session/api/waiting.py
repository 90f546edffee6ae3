"""The WSGI application of a pod that waits in a pool, until the session has its own.

The readiness probe calls it, so that a pod which waits is ready, and stays so when a session takes
it. It knows of no session, and needs no token.
"""

import json
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from nanogrid_executor.inputs.fetch import Progress
from nanogrid_executor.inputs.progress_server import initializing
from nanogrid_executor.session.api.app import HEALTH
from nanogrid_executor.session.errors import RETRY_SECONDS

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

WAITING: Final = {"status": "waiting"}


class WaitingApp:
    """Answers ``/health``: 200 while :attr:`waits`, else 503 as while inputs are being copied."""

    def __init__(self) -> None:
        self.waits = False  # the agent is ready for a session, and has none
        self.progress = Progress()
        self._began = time.monotonic()

    def begin(self) -> None:
        """A session has the pod, and is being prepared."""
        self.waits = False
        self._began = time.monotonic()

    def __call__(self, environ: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        """Serve one request."""
        millis = int((time.monotonic() - self._began) * 1000)
        body: dict[str, object] = initializing(self.progress, millis)
        head = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        status = "503 Service Unavailable"
        if self.waits and environ.get("PATH_INFO") == HEALTH:
            status, body = "200 OK", dict(WAITING)
        else:
            head += [("Retry-After", str(RETRY_SECONDS)), ("Connection", "close")]
        start(status, head)
        return [json.dumps(body).encode()]
