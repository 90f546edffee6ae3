"""The HTTP server in front of the application: gunicorn with threads, one process.

A request that waits for its result has a thread, so there are as many threads as requests may
wait, and some more that always answer. On SIGTERM those who wait are answered with 202 first; then
the server lets the rest end.
"""

import logging
import signal
from types import FrameType
from typing import Any

from gunicorn.app.base import BaseApplication

from nanogrid_gateway.api.app import create_app
from nanogrid_gateway.api.core import Gateway
from nanogrid_gateway.api.settings import Settings
from nanogrid_gateway.api.worker import worker_class

log = logging.getLogger("nanogrid.gateway")


class Server(BaseApplication):
    """gunicorn with our settings instead of its command line."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._gateway: Gateway | None = None
        super().__init__()

    def load_config(self) -> None:
        """What gunicorn's command line would say."""
        s = self._settings
        options: dict[str, Any] = {
            "bind": f"{s.host}:{s.port}",
            "workers": 1,  # limits and the subscription count per process
            "worker_class": worker_class(s.read_seconds),
            "threads": s.threads,
            "worker_connections": s.threads + 500,
            "backlog": 512,
            "limit_request_line": 8190,
            "keepalive": s.keepalive_seconds,
            "graceful_timeout": int(s.grace_seconds),
            "timeout": 60,
            "worker_tmp_dir": "/dev/shm",  # noqa: S108 the heartbeat must not touch a disk
            "control_socket_disable": True,  # its place is a home that is read-only
            "proc_name": "nanogrid-gateway",
            "loglevel": s.log_level.lower(),
            "post_worker_init": self._started,
            "worker_exit": self._ended,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """Made in the worker, so that threads and connections are its own."""
        self._gateway = Gateway(self._settings)
        return create_app(self._gateway)

    def _started(self, worker: Any) -> None:
        """Answer those who wait before the server waits for them."""
        before = signal.getsignal(signal.SIGTERM)

        def stop(number: int, frame: FrameType | None) -> None:
            if self._gateway is not None:
                self._gateway.drain()
            if callable(before):
                before(number, frame)

        signal.signal(signal.SIGTERM, stop)

    def _ended(self, server: Any, worker: Any) -> None:
        if self._gateway is not None:
            self._gateway.close()
