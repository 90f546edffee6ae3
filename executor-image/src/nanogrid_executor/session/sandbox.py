"""The agent's side of a session's sandbox: :class:`SandboxProtocol` over the launcher's socket."""

import threading
import time
from dataclasses import asdict
from typing import Final

from nanogrid import wire
from nanogrid_executor.launcher import frames, session_frames
from nanogrid_executor.log import log, warn
from nanogrid_executor.session.display_limits import DisplayLimiter
from nanogrid_executor.session.launcher_connection import LauncherConnection, MessageQueue
from nanogrid_executor.session.launcher_listener import LauncherListener
from nanogrid_executor.session.launcher_messages import read_end, read_started
from nanogrid_executor.session.sandbox_protocol import (
    ContextInfo,
    ExecutionEnd,
    ExecutionSpec,
    Sink,
    Stream,
)

# The launcher enforces timeout and grace itself; it may take this much longer to report the end.
LATE_SECONDS: Final = 60.0
DROP_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 10.0
STREAMS: Final[dict[bytes, Stream]] = {frames.STDOUT: "stdout", frames.STDERR: "stderr"}


class LauncherSandbox:
    """A :class:`SandboxProtocol`: the launchers that connect, one after another.

    A slow sink delays the code, because its output waits. A sink that takes over 60 s loses the
    sandbox, because the launcher then gives the agent up.
    """

    def __init__(self, socket_path: str, cwd: str) -> None:
        """Nothing listens before :meth:`start`.

        Args:
            socket_path: of the launchers' socket; the sandbox can only read its directory.
            cwd: the working directory of user code.
        """
        self._path, self._cwd = socket_path, cwd
        self._changed = threading.Condition()
        self._connection: LauncherConnection | None = None
        self._connections = 0
        self._idle_bytes: int | None = None  # without a launcher: 0 once a launcher measured
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="sandbox", daemon=True)

    def start(self) -> None:
        """Listen for launchers.

        Raises:
            OSError: the socket's directory cannot be used.
        """
        self._listener = LauncherListener(self._path, self._cwd, self._closing)
        self._thread.start()

    # -- SandboxProtocol

    @property
    def restarts(self) -> int:
        """How many launchers connected after the first one."""
        with self._changed:
            return max(0, self._connections - 1)

    @property
    def available(self) -> bool:
        """Whether a launcher is connected."""
        return self._current() is not None

    @property
    def memory_bytes(self) -> int | None:
        """Memory of the whole sandbox, as the launcher last sent it; None if it is not known."""
        connection = self._current()
        return self._idle_bytes if connection is None else connection.memory_bytes

    def wait_available(self, seconds: float) -> bool:
        """Wait for a launcher; False when none connected in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._connection is not None, seconds)

    def wait_gone(self) -> None:
        """Wait until no launcher is connected."""
        with self._changed:
            self._changed.wait_for(lambda: self._connection is None)

    def run(self, spec: ExecutionSpec, sink: Sink) -> ExecutionEnd:
        """Run one execution to its end.

        Raises:
            ValueError: an execution of that number runs, or the message is over 16 MiB.
            Exception: what the sink raised; the execution is asked to stop then.
        """
        requested = time.monotonic()
        connection = self._current()
        if connection is None:
            return _lost(requested, "no sandbox is connected")
        try:
            queue = connection.open_queue(spec.number)
        except ConnectionError as error:
            return _lost(requested, str(error))
        ended = False
        try:
            connection.send(frames.RUN, spec.number, _run_message(spec))
            end = self._follow(queue, spec, sink)
            ended = end is not None
            return end or _lost(requested, "the launcher disconnected")
        except (OSError, frames.ProtocolError) as error:
            # The launcher does not read, is silent, or sends invalid frames. Without a connection
            # it exits, and the kubelet starts a new one.
            warn("sandbox-given-up", execution=spec.number, error=error)
            connection.hang_up()
            return _lost(requested, str(error))
        finally:
            connection.close_queue(spec.number)
            if not ended:
                self._ask_to_stop(connection, spec.number)

    def interrupt(self, number: int) -> bool:
        """Ask a running execution to stop; False when it does not run."""
        connection = self._current()
        if connection is None or not connection.runs(number):
            return False
        return self._ask_to_stop(connection, number)

    def contexts(self) -> list[ContextInfo]:
        """The running contexts; their memory is that of the last start or end of any context."""
        connection = self._current()
        return [] if connection is None else connection.contexts()

    def drop_context(self, name: str) -> bool:
        """End a context's process; False when there is no context of that name.

        Raises:
            TimeoutError: it did not end within 15 s.
        """
        connection = self._current()
        if connection is None or all(each.name != name for each in connection.contexts()):
            return False
        try:
            connection.send(session_frames.DROP, 0, {"context": name})
        except OSError:
            return True  # the sandbox is gone, and the context with it
        if not connection.wait_without(name, DROP_SECONDS):
            raise TimeoutError(f"context {name!r} did not end within {DROP_SECONDS:g} s")
        return True

    def close(self) -> None:
        """Let the launcher kill every process of the sandbox and exit with 0."""
        self._closing.set()
        connection = self._current()
        if connection is not None:
            try:
                connection.send(session_frames.CLOSE, 0)
            except OSError as error:
                warn("sandbox-not-closed", error=error)
        if self._thread.ident is None:
            return
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            self.disconnect()
            self._thread.join(CLOSE_SECONDS)

    def disconnect(self) -> None:
        """Disconnect without ``CLOSE``: the launcher kills every process and reports an error."""
        connection = self._current()
        if connection is not None:
            connection.hang_up()

    # -- one execution

    def _current(self) -> LauncherConnection | None:
        with self._changed:
            return self._connection

    def _follow(self, queue: MessageQueue, spec: ExecutionSpec, sink: Sink) -> ExecutionEnd | None:
        """Pass everything to the sink until the end; None when the launcher disconnected."""
        longest = spec.timeout_seconds + spec.grace_seconds + LATE_SECONDS
        deadline = time.monotonic() + longest
        limiter = DisplayLimiter()
        started = False
        while (message := queue.take(deadline - time.monotonic())) is not None:
            kind, payload = message
            if kind in STREAMS:
                sink.output(STREAMS[kind], payload)
            elif kind == session_frames.DISPLAY:
                bundle = limiter.accept(payload)
                if bundle is not None:
                    sink.display(bundle)
            elif kind == frames.STARTED and not started:
                started = True
                sink.started(read_started(payload))
            elif kind == frames.EXITED:
                return read_end(payload)
            else:
                raise frames.ProtocolError(f"unexpected frame {kind!r}")
        return None

    def _ask_to_stop(self, connection: LauncherConnection, number: int) -> bool:
        try:
            connection.send(frames.CANCEL, number)
        except OSError:
            return False  # the launcher is gone, and the execution with it
        return True

    # -- the thread that serves one launcher after another

    def _serve(self) -> None:
        try:
            while self._listener.wait_for_lock():
                connection = self._listener.accept()
                if connection is not None:
                    self._serve_one(connection)
        finally:
            self._listener.close()

    def _serve_one(self, connection: LauncherConnection) -> None:
        with self._changed:
            self._connection = connection
            self._connections += 1
            self._changed.notify_all()
            log("sandbox-connected", connections=self._connections)
        try:
            connection.read()
        except (OSError, frames.ProtocolError) as error:
            warn("sandbox-connection-broken", error=error)
        with self._changed:
            self._connection = None
            self._changed.notify_all()
            if connection.memory_bytes is not None:
                self._idle_bytes = 0
        warn("sandbox-gone")
        connection.hang_up()
        self._listener.wait_until_gone(connection)
        connection.close()


def _run_message(spec: ExecutionSpec) -> dict[str, object]:
    fields = {wire.json_name(name): value for name, value in asdict(spec).items()}
    del fields["number"]  # the message's header has it
    return fields


def _lost(requested: float, error: str) -> ExecutionEnd:
    millis = int((time.monotonic() - requested) * 1000)
    return ExecutionEnd(exit_code=None, sandbox_lost=True, duration_millis=millis, error=error)
