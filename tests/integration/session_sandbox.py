"""A session's sandbox as processes on this machine: launchers, and the agent's side in the test."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from integration.pod import UNSHARE, can_unshare
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.port import ExecutionEnd, ExecutionOrder, Stream
from nanogrid_executor.session.sandbox import LauncherSandbox

READY_SECONDS = 20.0


@dataclass
class Seen:
    """A sink that keeps everything; ``on_output`` is called with all output so far."""

    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    bundles: list[dict[str, str]] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    on_output: Callable[[bytes], None] | None = None
    end: ExecutionEnd | None = None

    def started(self, start_millis: int) -> None:
        self.starts.append(start_millis)

    def output(self, stream: Stream, data: bytes) -> None:
        (self.stdout if stream == "stdout" else self.stderr).extend(data)
        if self.on_output is not None:
            self.on_output(bytes(self.stdout))

    def display(self, bundle: dict[str, str]) -> None:
        self.bundles.append(bundle)

    @property
    def out(self) -> str:
        return self.stdout.decode()

    @property
    def err(self) -> str:
        return self.stderr.decode()

    @property
    def ended(self) -> ExecutionEnd:
        assert self.end is not None
        return self.end


class Session:
    """The port, and the launchers of one pod."""

    def __init__(
        self, paths: Paths, launcher_dir: str, wrap: list[str], python: str = sys.executable
    ) -> None:
        self.paths, self.launcher_dir, self.wrap = paths, launcher_dir, wrap
        self.python = python
        self.port = LauncherSandbox(paths.socket, paths.workspace)
        self.launchers: list[subprocess.Popen[bytes]] = []
        self._number = 0

    def launch(self) -> "subprocess.Popen[bytes]":
        """A (new) sandbox container."""
        bin_dir = str(Path(self.python).parent)
        command = [*self.wrap, self.python, "-I", "-S", self.launcher_dir, self.paths.socket]
        env = {"PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}", "SECRET": "x"}
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        self.launchers.append(process)
        return process

    def order(self, code: str, **changes: Any) -> ExecutionOrder:
        self._number += 1
        given: dict[str, Any] = {"timeout_seconds": 30.0, "grace_seconds": 2.0, **changes}
        return ExecutionOrder(number=self._number, code=code, **given)

    def run(self, code: str, *, sink: Seen | None = None, **changes: Any) -> Seen:
        """Run code to its end."""
        seen = sink or Seen()
        seen.end = self.port.run(self.order(code, **changes), seen)
        return seen

    def kill(self) -> None:
        """Leave nothing running, whatever the test came to."""
        self.port.close()
        for process in self.launchers:
            if process.poll() is None:
                process.kill()
            process.wait()


@contextmanager
def running(paths: Paths, launcher_dir: str, *, own_pids: bool) -> Iterator[Session]:
    """A sandbox that is gone afterwards."""
    session = Session(paths, launcher_dir, UNSHARE if own_pids else [])
    session.port.start()
    session.launch()
    try:
        assert session.port.wait_available(READY_SECONDS)
        yield session
    finally:
        session.kill()


def wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> bool:
    """Wait until something is so; whether it came to be."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


__all__ = ["Seen", "Session", "can_unshare", "running", "wait_for"]
