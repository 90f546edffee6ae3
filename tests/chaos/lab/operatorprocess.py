"""One operator as a local process: started, killed and started again by its pid."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

READY_SECONDS = 30.0


class OperatorProcess:
    """``python -m nanogrid_operator`` with settings of its own; survives its restarts.

    Its port stays the same over restarts, so that agents find the new process where the old one
    was, as they do behind a Service. The log is kept in ``log``.
    """

    def __init__(self, environment: Mapping[str, str], port: int, log: Path) -> None:
        self._environment = {
            **{k: os.environ[k] for k in ("PATH", "HOME", "PYTHONPATH") if k in os.environ},
            "PYTHONUNBUFFERED": "1",
            **environment,
            "NANOGRID_PORT": str(port),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        self.log = log
        self.starts = 0

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Its process id; an error when it was never started."""
        assert self._process is not None, "the operator was not started"
        return self._process.pid

    def start(self) -> "OperatorProcess":
        """Start it; does not wait."""
        assert not self.running, "the operator runs already"
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nanogrid_operator"],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1
        return self

    def kill(self) -> None:
        """SIGKILL: nothing is said, nothing is cleaned up. Safe from any thread."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(10)

    def stop(self) -> int:
        """SIGTERM, as a Deployment does it; the exit code."""
        assert self._process is not None
        if self.running:
            self._process.terminate()
        try:
            return self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the operator ignored SIGTERM:\n{self.tail()}") from None

    def wait_ready(self, seconds: float = READY_SECONDS) -> float:
        """Wait until /readyz says 200; the seconds it took."""
        began = time.monotonic()
        while (waited := time.monotonic() - began) < seconds:
            assert self.running, f"the operator ended:\n{self.tail()}"
            try:
                with urllib.request.urlopen(self._url("/readyz"), timeout=2):
                    return waited
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                time.sleep(0.05)
        raise AssertionError(f"the operator was not ready within {seconds:g} s:\n{self.tail()}")

    def memory_bytes(self) -> int:
        """Its resident set."""
        return self._memory("VmRSS")

    def peak_memory_bytes(self) -> int:
        """The most that its resident set ever was."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    def tail(self, lines: int = 40) -> str:
        """The end of its log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"
