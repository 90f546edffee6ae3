"""A session's sandbox on this machine: launchers as processes, the agent's side in the test."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanogrid_executor.paths import Paths
from nanogrid_executor.session.sandbox import LauncherSandbox
from nanogrid_executor.session.sandbox_protocol import ExecutionEnd, ExecutionSpec, Stream
from support.executor_pod import UNSHARE, can_unshare

READY_SECONDS = 60.0


@dataclass
class RecordingSink:
    """A sink that keeps everything; ``on_output`` is called with all stdout so far."""

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


class SandboxPod:
    """The agent's side of a sandbox, and the launchers of one pod."""

    def __init__(
        self,
        paths: Paths,
        launcher_dir: str,
        wrap: list[str],
        python: str = sys.executable,
        options: tuple[str, ...] = (),
    ) -> None:
        self.paths, self.launcher_dir, self.wrap = paths, launcher_dir, wrap
        self.python, self.options = python, options
        self.sandbox = LauncherSandbox(paths.socket, paths.workspace)
        self.launchers: list[subprocess.Popen[bytes]] = []
        self._number = 0

    def launch(self) -> "subprocess.Popen[bytes]":
        """Start a sandbox container."""
        bin_dir = str(Path(self.python).parent)
        python = [*self.wrap, self.python, "-I", "-S"]
        command = [*python, self.launcher_dir, self.paths.socket, *self.options]
        env = {"PATH": f"{bin_dir}{os.pathsep}{os.environ['PATH']}", "SECRET": "x"}
        process = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL)
        self.launchers.append(process)
        return process

    def launcher_pid(self) -> int:
        """The PID of the last launcher, which may be a child of ``unshare``."""
        pid = self.launchers[-1].pid
        if self.wrap[:1] != UNSHARE[:1]:
            return pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def spec(self, code: str, **changes: Any) -> ExecutionSpec:
        self._number += 1
        given: dict[str, Any] = {"timeout_seconds": 30.0, "grace_seconds": 2.0, **changes}
        return ExecutionSpec(number=self._number, code=code, **given)

    def run(self, code: str, *, sink: RecordingSink | None = None, **changes: Any) -> RecordingSink:
        """Run code to its end."""
        sink = sink or RecordingSink()
        sink.end = self.sandbox.run(self.spec(code, **changes), sink)
        return sink

    def kill(self) -> None:
        """Kill all processes, whether the test passed or not."""
        self.sandbox.close()
        for process in self.launchers:
            if process.poll() is None:
                process.kill()
            process.wait()


@contextmanager
def running(
    paths: Paths, launcher_dir: str, *, own_pids: bool, options: tuple[str, ...] = ()
) -> Iterator[SandboxPod]:
    """A sandbox with a connected launcher; the end of the block kills it."""
    pod = SandboxPod(paths, launcher_dir, UNSHARE if own_pids else [], options=options)
    pod.sandbox.start()
    pod.launch()
    try:
        assert pod.sandbox.wait_available(READY_SECONDS)
        yield pod
    finally:
        pod.kill()


__all__ = ["RecordingSink", "SandboxPod", "can_unshare", "running"]
