"""An agent and a launcher as processes on this machine, in the places a pod gives them."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from nanogrid import names, wire
from nanogrid_executor.paths import Paths

WAIT_SECONDS = 60
PIPE = subprocess.PIPE
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def can_unshare() -> bool:
    """Whether this machine lets us make the launcher PID 1 of a PID namespace."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


@dataclass
class Ended:
    """What the two containers left behind."""

    sandbox_exit: int
    sandbox_log: bytes
    sandbox_errors: bytes
    agent_log: str
    report: wire.Report

    @property
    def result(self) -> wire.Result:
        return self.report.result


class Pod:
    """Two running containers."""

    def __init__(
        self, task: wire.Task, paths: Paths, launcher_dir: str, *, url: str, python: list[str]
    ) -> None:
        self.paths = paths
        env = {**os.environ, names.ENV_TASK: wire.dumps(task), names.ENV_RESULTS_URL: url}
        agent = [sys.executable, "-m", "nanogrid_executor", "agent", "--root", paths.root]
        self.agent = subprocess.Popen(agent, env=env, stdout=PIPE, stderr=subprocess.STDOUT)
        launcher = [*python, "-I", "-S", launcher_dir, paths.socket]
        self.sandbox = subprocess.Popen(
            launcher, env={"PATH": os.environ["PATH"], "SECRET": "x"}, stdout=PIPE, stderr=PIPE
        )

    def wait(self) -> Ended:
        """Wait until both have ended; read the termination message."""
        log, errors = self.sandbox.communicate(timeout=WAIT_SECONDS)
        agent_log, _ = self.agent.communicate(timeout=WAIT_SECONDS)
        assert self.agent.returncode == 0, agent_log.decode()
        message = Path(self.paths.real(names.TERMINATION_FILE)).read_text()
        report = wire.loads(wire.Report, message)
        return Ended(self.sandbox.returncode, log, errors, agent_log.decode(), report)

    def kill(self) -> None:
        """Leave nothing running, whatever the test came to."""
        for process in (self.sandbox, self.agent):
            if process.poll() is None:
                process.kill()
            process.communicate()


@contextmanager
def running(
    task: wire.Task,
    paths: Paths,
    launcher_dir: str,
    *,
    url: str = "",
    python: list[str] | None = None,
) -> Iterator[Pod]:
    """A pod that is gone afterwards."""
    pod = Pod(task, paths, launcher_dir, url=url, python=python or [sys.executable])
    try:
        yield pod
    finally:
        pod.kill()


class Operator(ThreadingHTTPServer):
    """A results endpoint that answers with the given statuses, then with 204."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{names.RESULTS_PATH}"


class _Handler(BaseHTTPRequestHandler):
    server: Operator

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self.server.headers.append({"Path": self.path, **dict(self.headers.items())})
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        return


@contextmanager
def operator(*statuses: int) -> Iterator[Operator]:
    """A running results endpoint."""
    server = Operator(*statuses)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
