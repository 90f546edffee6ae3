"""One operator as a local process that a test starts, kills and restarts."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

READY_SECONDS = 120.0


class OperatorProcess:
    """``python -m nanogrid_operator`` with its own settings; can be restarted.

    ``module`` is another module that runs the operator.

    The port stays the same over restarts, so that agents find the new process at the same address,
    as behind a Service. All runs append to the file ``log``.
    """

    def __init__(
        self,
        environment: Mapping[str, str],
        port: int,
        log: Path,
        module: str = "nanogrid_operator",
    ) -> None:
        self._module = module
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
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id; AssertionError if it was never started."""
        assert self._process is not None, "the operator was not started"
        return self._process.pid

    def start(self) -> "OperatorProcess":
        """Start the process without waiting for readiness."""
        assert not self.running, "the operator is already running"
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", self._module],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.starts += 1
        return self

    def kill(self) -> None:
        """Send SIGKILL: no message, no cleanup. Safe from any thread."""
        if self._process is not None and self.running:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(60)

    def freeze(self) -> None:
        """Send SIGSTOP: the process does nothing until :meth:`resume`."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> int:
        """Send SIGTERM, as a Deployment does; returns the exit code."""
        assert self._process is not None
        if self.running:
            self._process.terminate()
        try:
            return self._process.wait(60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the operator ignored SIGTERM:\n{self.tail()}") from None

    def wait_ready(self, seconds: float = READY_SECONDS) -> float:
        """Wait until /readyz answers 200; returns the seconds it took."""
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
        """The resident set size."""
        return self._memory("VmRSS")

    def peak_memory_bytes(self) -> int:
        """The peak resident set size."""
        return self._memory("VmHWM")

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return int(line.split()[1]) * 1024

    def tail(self, lines: int = 40) -> str:
        """The last lines of the log."""
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"
