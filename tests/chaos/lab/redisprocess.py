"""A real redis-server on loopback, for one test, that can be stopped and restarted."""

import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import redis

from support.s3_server import free_port

PASSWORD = "lab-password"
START_SECONDS = 60.0


class RedisProcess:
    """Keeps its port over restarts; with ``persistent`` (an append-only file) also its data."""

    def __init__(self, directory: Path, *, persistent: bool = False) -> None:
        self.port = free_port()
        self._directory = directory
        self._persistent = persistent
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The value of NANOGRID_REDIS_URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> "RedisProcess":
        """Start the server, empty unless persistent; returns when it answers."""
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        command += ["--requirepass", PASSWORD, "--dir", str(self._directory), "--save", ""]
        if self._persistent:
            command += ["--appendonly", "yes", "--appendfsync", "always"]
        with open(self._directory / "redis.log", "ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                self.client().ping()
                return self
            except (redis.ConnectionError, redis.TimeoutError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)

    def stop(self) -> None:
        """Send SIGKILL: connections are refused, and data in memory is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def pause(self) -> None:
        """Stop answering but keep connections and data, as a stalled host does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Continue after :meth:`pause`."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)

    def client(self) -> Any:
        """A synchronous client that decodes responses."""
        return redis.Redis(
            host="127.0.0.1",
            port=self.port,
            password=PASSWORD,
            decode_responses=True,
            socket_timeout=30,
        )
