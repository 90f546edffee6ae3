"""A launcher as a process on this machine, without an agent: the test speaks its frames."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanogrid_executor.launcher import frames

WAIT_SECONDS = 60
COMMAND = ["python3", "main.py"]
PYTHON_DIR = str(Path(sys.executable).parent)
SYSTEM = "/usr/local/bin:/usr/bin:/bin"


@dataclass
class Seen:
    """What the launcher sent of one job."""

    started: dict[str, Any] = field(default_factory=dict)
    exited: dict[str, Any] = field(default_factory=dict)
    stdout: str = ""
    stderr: str = ""

    @property
    def user_sees(self) -> tuple[str, str, int, str | None]:
        return self.stdout, self.stderr, self.exited["exitCode"], self.exited["signal"]


class Launcher:
    """A launcher that is connected, its workspace, and its process."""

    def __init__(self, sock: socket.socket, process: "subprocess.Popen[str]", folder: Path) -> None:
        self.sock, self.process, self.folder = sock, process, folder

    def wait_until_ready(self) -> None:
        assert frames.receive(self.sock) == (frames.READY, b"")

    def waiting_pid(self) -> int:
        """The only child of the launcher."""
        pid = self.process.pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def send(self, argv: list[str] | None = None, **changes: Any) -> None:
        run = {
            "argv": argv or COMMAND,
            "cwd": str(self.folder),
            "env": {},
            "stdin": "",
            "timeoutSeconds": 30.0,
            "graceSeconds": 1.0,
            **changes,
        }
        frames.send_json(self.sock, frames.RUN, run)

    def run(self, code: str, argv: list[str] | None = None, **changes: Any) -> Seen:
        (self.folder / "main.py").write_text(code)
        self.send(argv, **changes)
        return self.receive()

    def receive(self) -> Seen:
        seen = Seen()
        while not seen.exited:
            frame = frames.receive(self.sock)
            assert frame is not None
            kind, payload = frame
            if kind == frames.STARTED:
                seen.started = json.loads(payload)
            elif kind == frames.STDOUT:
                seen.stdout += payload.decode()
            elif kind == frames.STDERR:
                seen.stderr += payload.decode()
            elif kind == frames.EXITED:
                seen.exited = json.loads(payload)
        return seen

    def close(self) -> str:
        """Disconnect; the launcher's log, which also has the job's output."""
        self.sock.close()
        return self.process.communicate(timeout=WAIT_SECONDS)[0]


@contextmanager
def launcher(
    launcher_dir: str,
    folder: Path,
    *options: str,
    waits: bool = True,
    python_dir: str = PYTHON_DIR,
    wrap: tuple[str, ...] = (),
) -> Iterator[Launcher]:
    """A connected launcher; ``waits``: an interpreter waits in ``folder``."""
    root = tempfile.mkdtemp(prefix="wait")
    path = f"{root}/agent.sock"
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen()
    listener.settimeout(WAIT_SECONDS)
    command = [*wrap, f"{python_dir}/python3", "-I", "-S", launcher_dir, path, *options]
    if waits:
        command.append(f"--wait-interpreter={folder}")
    process = subprocess.Popen(
        command,
        env={"PATH": f"{python_dir}:{os.environ['PATH'] if wrap else SYSTEM}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        sock, _ = listener.accept()
        sock.settimeout(WAIT_SECONDS)
        yield Launcher(sock, process, folder)
        sock.close()
    finally:
        process.kill()
        process.communicate()
        listener.close()
        shutil.rmtree(root)
