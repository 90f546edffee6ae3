"""``kubectl port-forward`` as a context manager: a local port that leads into a cluster.

No thread reads what kubectl prints: a thread that holds the lock of a stream when the interpreter
exits aborts the whole process. kubectl prints into a file without a name instead.
"""

import os
import re
import subprocess
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from nanogrid.client.errors import NotConfigured, Unreachable
from nanogrid.client.kube.cluster import Cluster

READY_SECONDS: Final = 30.0
STOP_SECONDS: Final = 5.0
PAUSE_SECONDS: Final = 0.3
POLL_SECONDS: Final = 0.01
OUTPUT_BYTES: Final = 1 << 16  # the port is in the first line
SHOWN_LINES: Final = 5
_FORWARDING: Final = re.compile(rb"Forwarding from 127\.0\.0\.1:(\d+) -> ")


@contextmanager
def port_forward(
    cluster: Cluster,
    namespace: str,
    target: str,
    port: int,
    ready_seconds: float = READY_SECONDS,
) -> Iterator[int]:
    """A local port that leads to ``target``, for example svc/nanogrid-router.

    It leads to one pod. When this pod ends, open a new port-forward. kubectl ends with the context,
    and at the latest when the interpreter exits.

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
    printed: list[str] = []
    while True:
        forward = _Forward(command)
        try:
            found = forward.port(deadline - timing.now())
            if found is not None:
                yield found
                return
        finally:
            forward.stop()
        printed = forward.last_lines() or printed
        # kubectl has ended. The pod may not be ready yet, so try again until the deadline.
        if timing.now() >= deadline:
            reason = "; ".join(printed) or "kubectl printed nothing"
            message = f"no port-forward to {target} in namespace {namespace}: {reason}."
            raise Unreachable(0, "PortForward", message)
        timing.sleep(PAUSE_SECONDS)


class _Forward:
    """One kubectl process."""

    def __init__(self, command: list[str]) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 open as long as kubectl
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=self._file, stderr=subprocess.STDOUT
            )
        except FileNotFoundError:
            self._file.close()
            hint = "Install kubectl, or run inside the cluster."
            raise NotConfigured("kubectl is not on the PATH.", hint) from None
        # Called at the exit of the interpreter too.
        self.stop = weakref.finalize(self, _stop, self._process, os.getpid())

    def port(self, seconds: float) -> int | None:
        """The local port; None when kubectl ended, or after ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            ended = self._process.poll() is not None
            if found := _FORWARDING.search(self._output()):
                return int(found[1])
            if ended or time.monotonic() > deadline:
                return None
            time.sleep(POLL_SECONDS)

    def last_lines(self) -> list[str]:
        """What kubectl printed last, each line once."""
        lines = self._output().decode(errors="replace").splitlines()
        return list(dict.fromkeys(line.strip() for line in lines))[-SHOWN_LINES:]

    def _output(self) -> bytes:
        # kubectl shares the position in the file, so it must not move.
        return os.pread(self._file.fileno(), OUTPUT_BYTES, 0)


def _stop(process: "subprocess.Popen[bytes]", owner: int) -> None:
    """Stop a process and wait for its end; a forked copy of the owner leaves it alone."""
    if os.getpid() != owner:
        return
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
