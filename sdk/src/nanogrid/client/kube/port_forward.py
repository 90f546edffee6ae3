"""``kubectl port-forward`` as a context manager: a local port that leads into a cluster."""

import queue
import re
import subprocess
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nanogrid.client.errors import NotConfigured, Unreachable
from nanogrid.client.kube.cluster import Cluster

READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.3
_FORWARDING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> ")


@contextmanager
def port_forward(
    cluster: Cluster,
    namespace: str,
    target: str,
    port: int,
    ready_seconds: float = READY_SECONDS,
) -> Iterator[int]:
    """A local port that leads to ``target``, for example svc/nanogrid-router.

    It leads to one pod. When this pod ends, open a new port-forward.

    Raises:
        NotConfigured: kubectl is not installed.
        Unreachable: nothing is forwarded within ``ready_seconds``.
    """
    timing = cluster.timing
    connection = cluster.connection
    command = ["kubectl", "--namespace", namespace]
    command += ["--kubeconfig", connection.kubeconfig] if connection.kubeconfig else []
    command += ["--context", connection.context] if connection.context else []
    command += ["port-forward", "--address=127.0.0.1", target, f":{port}"]
    deadline = timing.now() + ready_seconds
    output: deque[str] = deque(maxlen=5)
    while True:
        forward = _Forward(command, output)
        try:
            found = forward.port(deadline - timing.now())
            if found is not None:
                yield found
                return
        finally:
            forward.stop()
        # kubectl has ended. The pod may not be ready yet, so try again until the deadline.
        if timing.now() >= deadline:
            reason = "; ".join(dict.fromkeys(output)) or "kubectl printed nothing"
            message = f"no port-forward to {target} in namespace {namespace}: {reason}."
            raise Unreachable(0, "PortForward", message)
        timing.sleep(PAUSE_SECONDS)


class _Forward:
    """One kubectl process."""

    def __init__(self, command: list[str], output: deque[str]) -> None:
        self._output = output
        self._ports: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except FileNotFoundError:
            hint = "Install kubectl, or run inside the cluster."
            raise NotConfigured("kubectl is not on the PATH.", hint) from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def port(self, seconds: float) -> int | None:
        """The local port; None when kubectl ended, or after ``seconds``."""
        try:
            return self._ports.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None

    def stop(self) -> None:
        """Stop the process and wait for its end."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        # Until the end: kubectl prints a line per connection and blocks when the pipe is full.
        for line in self._process.stdout or ():
            if found := _FORWARDING.search(line):
                self._ports.put(int(found[1]))
            elif not line.startswith("Handling connection"):
                self._output.append(line.strip())
        self._ports.put(None)
