"""The agent's side of a session's sandbox: the port over the launcher's socket.

Only a launcher may connect, never user code in its place. So there is a socket only while no user
code can run: it is unlinked when a launcher has connected, and made again when all processes of
the container before are gone. Two things prove that. The launcher gave a pidfd of itself, which
tells of its end; for the kernel PID 1 ends only when every process of its namespace has. And the
launcher holds a lock on a file until it has ended all that it started, so that an agent that was
itself restarted, and has no pidfd, waits for it, too.
"""

import fcntl
import json
import os
import select
import socket
import threading
import time
from typing import Final

from nanogrid_executor import frames
from nanogrid_executor import session_frames as wire
from nanogrid_executor.log import log
from nanogrid_executor.session.link import Call, Link
from nanogrid_executor.session.port import (
    ContextInfo,
    ExecutionEnd,
    ExecutionOrder,
    Sink,
    Stream,
)
from nanogrid_executor.session.results import Results

LOOK_SECONDS: Final = 0.2
# How much longer than timeout and grace the launcher may stay silent: it enforces both itself.
SILENCE_SECONDS: Final = 60.0
# Without a pidfd: the kernel needs microseconds between closing PID 1's files and killing the rest.
QUIET_SECONDS: Final = 1.0
DROP_SECONDS: Final = 15.0
CLOSE_SECONDS: Final = 10.0
LOCK_NAME: Final = "launcher.lock"
STREAMS: Final[dict[bytes, Stream]] = {wire.STDOUT: "stdout", wire.STDERR: "stderr"}


class LauncherSandbox:
    """A :class:`SandboxPort`: the launchers that connect, one after another.

    A sink that takes its time holds up the code (its output waits), and one that takes over 60 s
    loses the sandbox: the launcher takes the agent for dead.
    """

    def __init__(self, socket_path: str, cwd: str) -> None:
        """Nothing happens before :meth:`start`.

        Args:
            socket_path: where launchers connect; its directory is only read by the sandbox.
            cwd: the working directory of user code.
        """
        self._path, self._cwd = socket_path, cwd
        self._lock_path = os.path.join(os.path.dirname(socket_path), LOCK_NAME)
        self._changed = threading.Condition()
        self._link: Link | None = None
        self._connections = 0
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="sandbox", daemon=True)

    def start(self) -> None:
        """Listen for launchers from now on.

        Raises:
            OSError: the socket's directory cannot be used.
        """
        self._lock = self._make_lock()
        self._thread.start()

    # -- the port

    @property
    def restarts(self) -> int:
        """How often a launcher connected after the first one."""
        with self._changed:
            return max(0, self._connections - 1)

    @property
    def available(self) -> bool:
        """Whether a launcher is connected."""
        with self._changed:
            return self._link is not None

    def wait_available(self, seconds: float) -> bool:
        """Wait for a launcher; False when none came in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self._link is not None, seconds)

    def run(self, order: ExecutionOrder, sink: Sink) -> ExecutionEnd:
        """Run one execution to its end.

        Raises:
            ValueError: an execution of that number runs, or the order is over 16 MiB.
            Exception: what the sink raised; the execution is asked to stop then.
        """
        asked = time.monotonic()
        with self._changed:
            link = self._link
        if link is None:
            return _lost(asked, "no sandbox is connected")
        try:
            call = link.begin(order.number)
        except ConnectionError as error:
            return _lost(asked, str(error))
        ended = False
        try:
            link.send(wire.RUN, order.number, _payload(order))
            end = self._follow(call, order, sink)
            ended = end is not None
            return end or _lost(asked, "the launcher has gone")
        except (OSError, frames.ProtocolError) as error:
            # It does not listen, is silent, or talks nonsense: the kubelet shall start a new one.
            log("sandbox-given-up", execution=order.number, error=error)
            link.hang_up()
            return _lost(asked, str(error))
        finally:
            link.end(order.number)
            if not ended:
                self._ask_to_stop(link, order.number)

    def interrupt(self, number: int) -> bool:
        """Ask a running execution to stop; False when it does not run."""
        with self._changed:
            link = self._link
        if link is None or not link.runs(number):
            return False
        return self._ask_to_stop(link, number)

    def contexts(self) -> list[ContextInfo]:
        """The living contexts; their memory is that at the last beginning or end of any."""
        with self._changed:
            link = self._link
        return [] if link is None else link.contexts()

    def drop_context(self, name: str) -> bool:
        """End a context's process; False when there is none of that name.

        Raises:
            TimeoutError: it did not end within 15 s.
        """
        with self._changed:
            link = self._link
        if link is None or all(context.name != name for context in link.contexts()):
            return False
        try:
            link.send(wire.DROP, 0, {"context": name})
        except OSError:
            return True  # the sandbox went, and with it the context
        if not link.wait_without(name, DROP_SECONDS):
            raise TimeoutError(f"context {name!r} did not end within {DROP_SECONDS:g} s")
        return True

    def close(self) -> None:
        """Let the launcher end; it ends every process of the sandbox and exits with 0."""
        self._closing.set()
        with self._changed:
            link = self._link
        if link is not None:
            try:
                link.send(wire.CLOSE, 0)
            except OSError as error:
                log("sandbox-not-closed", error=error)
        if self._thread.ident is None:
            return
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive() and link is not None:
            link.hang_up()
            self._thread.join(CLOSE_SECONDS)

    # -- one execution

    def _follow(self, call: Call, order: ExecutionOrder, sink: Sink) -> ExecutionEnd | None:
        """Hand everything to the sink until the end; None when the launcher went."""
        silence = order.timeout_seconds + order.grace_seconds + SILENCE_SECONDS
        results = Results()
        while (message := call.take(silence)) is not None:
            kind, payload = message
            if kind in STREAMS:
                sink.output(STREAMS[kind], payload)
            elif kind == wire.DISPLAY:
                bundle = results.take(payload)
                if bundle is not None:
                    sink.display(bundle)
            elif kind == wire.STARTED:
                sink.started(json.loads(payload)["startMillis"])
            elif kind == wire.EXITED:
                return _end(payload)
            else:
                raise frames.ProtocolError(f"unexpected frame {kind!r}")
        return None

    def _ask_to_stop(self, link: Link, number: int) -> bool:
        try:
            link.send(wire.INTERRUPT, number)
        except OSError:
            return False  # the launcher has gone, and the execution with it
        return True

    # -- launchers that come and go

    def _serve(self) -> None:
        try:
            while self._take_lock():
                link = self._accept()
                if link is not None:
                    self._serve_one(link)
        finally:
            os.close(self._lock)

    def _serve_one(self, link: Link) -> None:
        with self._changed:
            self._link = link
            self._connections += 1
            self._changed.notify_all()
            log("sandbox-connected", connections=self._connections)
        try:
            link.read()
        except (OSError, frames.ProtocolError, ValueError, KeyError) as error:
            log("sandbox-connection-broken", error=error)
        with self._changed:
            self._link = None
        log("sandbox-gone")
        link.hang_up()
        self._await_end(link)
        link.close()

    def _await_end(self, link: Link) -> None:
        """Wait until no process of that launcher's container is left."""
        if link.process is None:
            self._closing.wait(QUIET_SECONDS)
            return
        poll = select.poll()
        poll.register(link.process, select.POLLIN)
        while not self._closing.is_set() and not poll.poll(int(LOOK_SECONDS * 1000)):
            pass

    def _make_lock(self) -> int:
        os.makedirs(os.path.dirname(self._path), exist_ok=True)
        lock = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.fchmod(lock, 0o644)  # whatever the umask: the sandbox may run as another user
        return lock

    def _take_lock(self) -> bool:
        """Wait for the end of a launcher that knew an earlier agent; False: the session ends."""
        while not self._closing.is_set():
            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                self._closing.wait(LOOK_SECONDS)
        return False

    def _accept(self) -> Link | None:
        """Wait for one launcher; None when the session ends, or when it was none."""
        sock = self._connection()
        fcntl.flock(self._lock, fcntl.LOCK_UN)  # the launcher takes it before it runs anything
        if sock is None:
            return None
        try:
            return Link(sock, self._cwd, self._lock_path)
        except (OSError, frames.ProtocolError) as error:
            log("sandbox-not-ready", error=error)
            return None

    def _connection(self) -> socket.socket | None:
        if os.path.lexists(self._path):
            os.unlink(self._path)  # of an agent that was killed
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(self._path)
            try:
                listener.listen(1)
                listener.settimeout(LOOK_SECONDS)
                while not self._closing.is_set():
                    try:
                        return listener.accept()[0]
                    except TimeoutError:
                        continue  # look at the flag
                return None
            finally:
                os.unlink(self._path)


def _payload(order: ExecutionOrder) -> dict[str, object]:
    return {
        "code": order.code,
        "context": order.context,
        "shell": order.shell,
        "env": order.env,
        "stdin": order.stdin,
        "timeoutSeconds": order.timeout_seconds,
        "graceSeconds": order.grace_seconds,
    }


def _end(payload: bytes) -> ExecutionEnd:
    exited = json.loads(payload)
    return ExecutionEnd(
        exit_code=exited["exitCode"],
        signal=exited["signal"],
        timed_out=exited["timedOut"],
        interrupted=exited["interrupted"],
        oom_killed=exited["oomKilled"],
        context_lost=exited["contextLost"],
        context_new=exited["contextNew"],
        duration_millis=exited["durationMillis"],
        cpu_millis=exited["cpuMillis"],
        peak_memory_bytes=exited["peakMemoryBytes"],
        memory_source=exited["memorySource"],
        error=exited["error"],
    )


def _lost(asked: float, error: str) -> ExecutionEnd:
    millis = int((time.monotonic() - asked) * 1000)
    return ExecutionEnd(exit_code=None, sandbox_lost=True, duration_millis=millis, error=error)
