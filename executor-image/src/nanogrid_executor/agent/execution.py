"""The agent's side of one execution: sends ``RUN`` to the launcher and collects what comes back.

This module knows nothing of jobs, results or S3.
"""

import select
import socket
import threading
from collections.abc import Callable
from typing import Final

from nanogrid import result_bounds as bounds
from nanogrid import wire
from nanogrid.live_memory import MemoryUse
from nanogrid.record import Record
from nanogrid_executor.capture import Capture
from nanogrid_executor.launcher import frames

# The launcher enforces timeout and grace itself; it may take this much longer to report the end.
LATE_SECONDS: Final = 60.0
MEMORY_BYTES: Final = 256  # more than any MEMORY frame has
HELD_SECONDS: Final = 60.0  # for the launcher's answer to HOLD; usually 2 ms


class RunRequest(Record):
    """The payload of the ``RUN`` frame."""

    argv: list[str]
    cwd: str
    env: dict[str, str]
    stdin: str
    timeout_seconds: float
    grace_seconds: float
    live_memory: bool = True


class Started(Record):
    """The launcher's ``STARTED`` frame."""

    pid: int
    start_millis: int


class Exited(Record):
    """The launcher's ``EXITED`` frame; ``error`` is why the process could not be started."""

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
    error_cause: str | None = None
    held_millis: int = 0


class _Held(Record):
    error: str


def read_started(payload: bytes) -> Started:
    """The ``STARTED`` frame within its bounds.

    Raises:
        ValueError: it is not one.
    """
    read = wire.loads(Started, payload)
    return Started(pid=bounds.count(read.pid), start_millis=bounds.millis(read.start_millis))


def read_exited(payload: bytes) -> Exited:
    """The ``EXITED`` frame within its bounds: a job's own image may send anything.

    Raises:
        ValueError: it is not one.
    """
    read = wire.loads(Exited, payload)
    return Exited(
        exit_code=bounds.exit_code(read.exit_code),
        signal=bounds.optional(bounds.signal_name, read.signal),
        timed_out=read.timed_out,
        cancelled=read.cancelled,
        oom_killed=read.oom_killed,
        duration_millis=bounds.millis(read.duration_millis),
        cpu_millis=bounds.millis(read.cpu_millis),
        peak_memory_bytes=bounds.count(read.peak_memory_bytes),
        memory_source=bounds.word(read.memory_source),
        error=bounds.optional(bounds.message, read.error),
        error_cause=bounds.optional(bounds.word, read.error_cause),
        held_millis=bounds.millis(read.held_millis),
    )


class _Memory(Record):
    memory_bytes: int
    peak_memory_bytes: int


def read_memory(payload: bytes) -> MemoryUse | None:
    """The ``MEMORY`` frame within its bounds; None if it is not one: it is worth no job."""
    if len(payload) > MEMORY_BYTES:
        return None
    try:
        read = wire.loads(_Memory, payload)
    except ValueError:
        return None
    return MemoryUse(bounds.count(read.memory_bytes), bounds.count(read.peak_memory_bytes))


class Execution:
    """What the agent observed of one execution.

    Without ``exited`` the connection to the launcher was lost; ``lost`` is why. ``memory`` is the
    newest use of the running code; None: not known.
    """

    def __init__(
        self,
        stdout: Capture | None = None,
        stderr: Capture | None = None,
        *,
        started: Started | None = None,
        exited: Exited | None = None,
        lost: str = "",
    ) -> None:
        self.stdout = stdout or Capture()
        self.stderr = stderr or Capture()
        self.started = started
        self.exited = exited
        self.lost = lost
        self.memory: MemoryUse | None = None

    @property
    def succeeded(self) -> bool:
        """Whether the code ended by itself with exit code 0."""
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
        self._proven = False
        self._held_seconds = 0.0
        self._late = ""

    def cancel(self) -> None:
        """Ask the launcher to stop the code; a signal handler may call this at any time."""
        self._cancelled = True
        if self._running:
            self._send_cancel()

    def hold_network(self, seconds: float) -> str:
        """Ask that the code gets no network socket before :meth:`open_network`.

        Args:
            seconds: the most until then.

        Returns:
            Why the launcher cannot do it, or nothing. Then :meth:`run` is allowed at once.
        """
        try:
            self._sock.settimeout(HELD_SECONDS)
            frames.send(self._sock, frames.HOLD)
            frame = frames.receive(self._sock)
            if frame is None or frame[0] != frames.HELD:
                return "the launcher gave no answer"
            problem = bounds.message(wire.loads(_Held, frame[1]).error)
        except (OSError, frames.ProtocolError, ValueError) as error:
            return bounds.message(str(error) or type(error).__name__)
        finally:
            self._sock.settimeout(None)
        if not problem:
            self._held_seconds = seconds
        return problem

    def open_network(self) -> None:
        """The network is proven: let the code have sockets; any thread may call this."""
        self._proven = True
        if self._running:
            self._send_open()

    def await_ready(self, seconds: float) -> str:
        """Wait for the frame ``READY`` of a pool's launcher; why it does not come, or nothing."""
        self._sock.settimeout(seconds)
        try:
            frame = frames.receive(self._sock)
        except TimeoutError:
            return f"the launcher is not ready after {seconds:g} s"
        except (OSError, frames.ProtocolError) as error:
            return bounds.message(str(error) or type(error).__name__)
        finally:
            self._sock.settimeout(None)
        if frame is None:
            return "the launcher closed the connection"
        return "" if frame[0] == frames.READY else f"unexpected frame {frame[0]!r}"

    def await_sign(self) -> None:
        """Wait until the launcher sends something or closes the connection; reads nothing."""
        signs = select.poll()
        signs.register(self._sock, select.POLLIN)
        signs.poll()

    def close(self) -> None:
        """Close the connection: the launcher then exits as the last execution did."""
        self._sock.close()

    def run(
        self, request: RunRequest, execution: Execution, on_started: Callable[[], None]
    ) -> None:
        """Run one execution to its end.

        Args:
            request: what to run.
            execution: receives what is observed.
            on_started: called once the code runs, when waiting costs nothing.
        """
        longest = request.timeout_seconds + request.grace_seconds + LATE_SECONDS
        longest += self._held_seconds  # which do not count in the timeout
        # Not a timeout of the socket: a launcher that sends a byte now and then would reset it.
        hang_up = threading.Timer(longest, self._hang_up)
        hang_up.daemon = True
        hang_up.start()
        try:
            frames.send_json(self._sock, frames.RUN, wire.to_dict(request))
            # From here on a signal handler may send CANCEL, and a thread OPEN. What came earlier is
            # sent now. If both are sent, the launcher ignores the second.
            self._running = True
            if self._proven:
                self._send_open()
            if self._cancelled:
                self._send_cancel()
            while execution.exited is None:
                self._receive(execution, on_started)
        except (OSError, frames.ProtocolError, ValueError) as error:
            execution.lost = bounds.message(self._late or str(error) or type(error).__name__)
        finally:
            hang_up.cancel()
            self._running = False

    def _receive(self, execution: Execution, on_started: Callable[[], None]) -> None:
        frame = frames.receive(self._sock)
        if frame is None:
            raise frames.ProtocolError("the launcher closed the connection")
        kind, payload = frame
        if kind == frames.STDOUT:
            execution.stdout.feed(payload)
        elif kind == frames.STDERR:
            execution.stderr.feed(payload)
        elif kind == frames.STARTED and execution.started is None:
            execution.started = read_started(payload)
            on_started()
        elif kind == frames.MEMORY:
            execution.memory = read_memory(payload) or execution.memory
        elif kind == frames.EXITED:
            execution.exited = read_exited(payload)
        else:
            raise frames.ProtocolError(f"unexpected frame {kind!r}")

    def _hang_up(self) -> None:
        self._late = "the launcher reported no end in time"
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            return  # it is closed already

    def _send_open(self) -> None:
        try:
            frames.send(self._sock, frames.OPEN)
        except OSError:
            return  # the launcher is gone; the reading side reports it

    def _send_cancel(self) -> None:
        try:
            frames.send(self._sock, frames.CANCEL)
        except OSError:
            self._cancelled = True  # the launcher is gone; the reading side reports it
