"""The agent's side of one execution: send ``RUN`` to the launcher, gather what comes back.

A batch agent does this once; nothing here knows of jobs, results or S3, so that an agent that
runs many executions over one connection uses it as it is.
"""

import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Final

from nanogrid import wire
from nanogrid_executor import frames
from nanogrid_executor.capture import Capture

# How much longer than timeout and grace the launcher may stay silent: it enforces both itself.
SILENCE_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What to run."""

    argv: list[str]
    cwd: str
    env: dict[str, str]
    stdin: str
    timeout_seconds: float
    grace_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The launcher's ``STARTED`` frame."""

    pid: int
    start_millis: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Exited:
    """The launcher's ``EXITED`` frame; ``error`` says why the process could not be started."""

    exit_code: int
    signal: str | None
    timed_out: bool
    cancelled: bool
    oom_killed: bool
    duration_millis: int
    cpu_millis: int
    peak_memory_bytes: int
    memory_source: str
    error: str | None


@dataclass(slots=True)
class Execution:
    """What was seen of one execution; without ``exited`` the launcher went before it could tell."""

    stdout: Capture = field(default_factory=Capture)
    stderr: Capture = field(default_factory=Capture)
    started: Started | None = None
    exited: Exited | None = None
    lost: str = ""

    @property
    def succeeded(self) -> bool:
        """Whether the code ran to its own end and exited with 0."""
        exited = self.exited
        if exited is None or exited.error is not None or exited.timed_out or exited.cancelled:
            return False
        return exited.exit_code == 0


class Sandbox:
    """The connection to one launcher."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._running = False
        self._cancelled = False

    def cancel(self) -> None:
        """Ask the launcher to stop the code; may be called by a signal handler at any time."""
        self._cancelled = True
        if self._running:
            self._send_cancel()

    def close(self) -> None:
        """Let the launcher go: it exits as the last execution did."""
        self._sock.close()

    def run(self, order: Order, execution: Execution, on_started: Callable[[], None]) -> None:
        """Run one execution to its end.

        Args:
            order: what to run.
            execution: takes what is seen of it.
            on_started: called once the code runs, when waiting costs nothing.
        """
        self._sock.settimeout(order.timeout_seconds + order.grace_seconds + SILENCE_SECONDS)
        try:
            payload = {wire.json_name(key): value for key, value in asdict(order).items()}
            frames.send_json(self._sock, frames.RUN, payload)
            # From here on a handler may send; a CANCEL that came before is sent now. Should both
            # send it, the launcher ignores the second.
            self._running = True
            if self._cancelled:
                self._send_cancel()
            while execution.exited is None:
                self._take(execution, on_started)
        except (OSError, frames.ProtocolError, ValueError) as error:
            execution.lost = str(error) or type(error).__name__
        finally:
            self._running = False

    def _take(self, execution: Execution, on_started: Callable[[], None]) -> None:
        frame = frames.receive(self._sock)
        if frame is None:
            raise frames.ProtocolError("the launcher closed the connection")
        kind, payload = frame
        if kind == frames.STDOUT:
            execution.stdout.feed(payload)
        elif kind == frames.STDERR:
            execution.stderr.feed(payload)
        elif kind == frames.STARTED:
            execution.started = wire.loads(Started, payload)
            on_started()
        elif kind == frames.EXITED:
            execution.exited = wire.loads(Exited, payload)
        else:
            raise frames.ProtocolError(f"unexpected frame {kind!r}")

    def _send_cancel(self) -> None:
        try:
            frames.send(self._sock, frames.CANCEL)
        except OSError:
            self._cancelled = True  # the launcher is gone; the reading side says so
