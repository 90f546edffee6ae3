"""``kubectl port-forward`` for as long as a context lasts: from this machine into a cluster."""

import queue
import re
import subprocess
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nanogrid.client.cluster import Cluster
from nanogrid.client.errors import NotConfigured, Unreachable

READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.3
_FORWARDING: Final = re.compile(r"Forwarding from 127\.0\.0\.1:(\d+) -> ")


@contextmanager
def port_forward(cluster: Cluster, namespace: str, target: str, port: int) -> Iterator[int]:
    """A port of this machine that leads to ``target``, for example svc/nanogrid-router.

    It is bound to one pod: when that pod goes, enter it again.

    Raises:
        NotConfigured: there is no kubectl.
        Unreachable: nothing is forwarded within 30 seconds.
    """
    connection = cluster.connection
    command = ["kubectl", "--namespace", namespace]
    command += ["--kubeconfig", connection.kubeconfig] if connection.kubeconfig else []
    command += ["--context", connection.context] if connection.context else []
    command += ["port-forward", "--address=127.0.0.1", target, f":{port}"]
    deadline = time.monotonic() + READY_SECONDS
    said: deque[str] = deque(maxlen=5)
    while True:
        forward = _Forward(command, said)
        try:
            found = forward.port(deadline)
            if found is not None:
                yield found
                return
        finally:
            forward.stop()
        # kubectl has ended: the pod may just be starting, so try again for a while.
        if time.monotonic() >= deadline:
            reason = "; ".join(dict.fromkeys(said)) or "kubectl said nothing"
            where = f"{target} in namespace {namespace}"
            raise Unreachable(0, "PortForward", f"no way to {where}: {reason}.")
        time.sleep(PAUSE_SECONDS)


class _Forward:
    """One kubectl process."""

    def __init__(self, command: list[str], said: deque[str]) -> None:
        self._said = said
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
            cure = "Install kubectl, or run inside the cluster."
            raise NotConfigured("kubectl is not on the PATH.", cure) from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def port(self, deadline: float) -> int | None:
        """The local port; None when kubectl ended, or time is up."""
        try:
            return self._ports.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            return None

    def stop(self) -> None:
        """End the process and wait for it."""
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
        # To the end: kubectl says a line per connection and stops when its pipe is full.
        for line in self._process.stdout or ():
            if found := _FORWARDING.search(line):
                self._ports.put(int(found[1]))
            elif not line.startswith("Handling connection"):
                self._said.append(line.strip())
        self._ports.put(None)
