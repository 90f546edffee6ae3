"""An agent and a launcher as processes on this machine, with the directories of a pod."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from nanogrid import names, wire
from nanogrid.cli.http_serving import QuietHandler, serving
from nanogrid_executor.paths import Paths
from support.waiting import wait_until

WAIT_SECONDS = 60
PIPE = subprocess.PIPE
HELD = 96 << 20  # bytes that HOLDS keeps until there is a file `go`
HOLDS = f"""
import os, time
data = b"x" * {HELD}
while not os.path.exists("go"):
    time.sleep(0.05)
"""
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


def can_unshare() -> bool:
    """Whether the launcher can be PID 1 of a PID namespace on this machine."""
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*UNSHARE, "true"], capture_output=True).returncode == 0


@contextmanager
def pod_paths() -> Iterator[Paths]:
    """A pod's directories; short, because a Unix socket's path has at most 107 bytes."""
    root = tempfile.mkdtemp(prefix="pod")
    os.makedirs(f"{root}{names.WORKSPACE}")
    os.makedirs(f"{root}{names.TOKEN_DIR}")
    Path(f"{root}{names.TOKEN_FILE}").write_text("the-token\n")
    yield Paths(root)
    # A sync that has failed has threads which still finish their last file.
    wait_until(lambda: _removed(root))


def _removed(root: str) -> bool:
    try:
        shutil.rmtree(root)
    except OSError as e:
        if e.errno != errno.ENOTEMPTY:
            raise
        return False
    return True


@dataclass
class Ended:
    """What the two containers left when they ended."""

    sandbox_exit: int
    sandbox_log: bytes
    sandbox_errors: bytes
    agent_log: str
    report: wire.Report

    @property
    def result(self) -> wire.Result:
        return self.report.result


class Pod:
    """The two running containers of a batch job."""

    def __init__(
        self,
        environment: dict[str, str],
        paths: Paths,
        launcher_dir: str,
        *,
        python: list[str],
        options: tuple[str, ...],
    ) -> None:
        self.paths = paths
        env = {**os.environ, **environment}
        agent = [sys.executable, "-m", "nanogrid_executor", "agent", "--root", paths.root]
        self.agent = subprocess.Popen(agent, env=env, stdout=PIPE, stderr=subprocess.STDOUT)
        launcher = [*python, "-I", "-S", launcher_dir, paths.socket, *options]
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.sandbox = subprocess.Popen(
            launcher, env={"PATH": path, "SECRET": "x"}, stdout=PIPE, stderr=PIPE
        )

    def wait(self) -> Ended:
        """Wait until both have ended, and read the termination message."""
        log, errors = self.sandbox.communicate(timeout=WAIT_SECONDS)
        agent_log, _ = self.agent.communicate(timeout=WAIT_SECONDS)
        assert self.agent.returncode == 0, agent_log.decode()
        message = Path(self.paths.real(names.TERMINATION_FILE)).read_text()
        report = wire.loads(wire.Report, message)
        return Ended(self.sandbox.returncode, log, errors, agent_log.decode(), report)

    def kill(self) -> None:
        """Kill both processes, whether the test passed or not."""
        for process in (self.sandbox, self.agent):
            if process.poll() is None:
                process.kill()
            process.communicate()


@contextmanager
def running(
    task: wire.PodTask,
    paths: Paths,
    launcher_dir: str,
    *,
    url: str = "",
    python: list[str] | None = None,
    options: tuple[str, ...] = (),
) -> Iterator[Pod]:
    """A running pod; the end of the block kills it. ``options`` are those of the launcher."""
    command = python or [sys.executable]
    environment = {names.ENV_TASK: wire.dumps(task), names.ENV_RESULTS_URL: url}
    pod = Pod(environment, paths, launcher_dir, python=command, options=options)
    try:
        yield pod
    finally:
        pod.kill()


@contextmanager
def waiting(
    paths: Paths, launcher_dir: str, url: str, *, options: tuple[str, ...] = (), **changes: Any
) -> Iterator[Pod]:
    """A pod of a pool, which asks the server of ``url`` for its job; ``changes`` its PoolTask."""
    task = wire.PoolTask(namespace="default", pool="fast", **changes)
    environment = {names.ENV_POOL_TASK: wire.dumps(task), names.ENV_RESULTS_URL: url}
    options = (f"--wait-interpreter={paths.workspace}", *options)
    pod = Pod(environment, paths, launcher_dir, python=[sys.executable], options=options)
    try:
        yield pod
    finally:
        pod.kill()


class ReportHandler(QuietHandler):
    """Takes reports."""

    server: "Operator"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        self.server.headers.append({"Path": self.path, **dict(self.headers.items())})
        self.server.wait_to_answer(self.path)
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 204)
        self.end_headers()


class Operator(ThreadingHTTPServer):
    """A results endpoint that responds with the given statuses, then with 204."""

    handler: ClassVar[type[ReportHandler]] = ReportHandler

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), self.handler)
        self.statuses = list(statuses)
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self._hangs: tuple[str, threading.Event] | None = None

    def hang(self, path: str) -> threading.Event:
        """Answer no request to this path before the event is set."""
        self._hangs = path, threading.Event()
        return self._hangs[1]

    def wait_to_answer(self, path: str) -> None:
        """Wait if requests to this path hang."""
        if self._hangs is not None and self._hangs[0] == path:
            self._hangs[1].wait(WAIT_SECONDS)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}{names.RESULTS_PATH}"


@contextmanager
def operator(*statuses: int) -> Iterator[Operator]:
    """A running results endpoint."""
    with serving(Operator(*statuses)) as server:
        yield server
