"""PID 1 of a session's sandbox: many executions over one connection, contexts between them.

Standard library only; imported when the agent's first frame is ``SESSION``. One thread and one poll
loop, as for a batch job. Every execution has its own process tree (see
:mod:`nanogrid_executor.launcher.process_tree`). When its program has ended, the rest of the tree is
killed. Contexts live on in trees of their own. Any other child of PID 1 is killed immediately.
"""

import fcntl
import json
import os
import select
import signal
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from nanogrid_executor.launcher import frames, own_log, session_command, session_frames, spawn
from nanogrid_executor.launcher.live_memory import MemoryNews
from nanogrid_executor.launcher.orphans import Reaper, kill_everything
from nanogrid_executor.launcher.process_tree import (
    PR_SET_CHILD_SUBREAPER,
    ProcessTree,
    set_process_option,
)
from nanogrid_executor.launcher.session_execution import SessionExecution, exited_unstarted
from nanogrid_executor.launcher.session_frames import MAX_CONTEXTS
from nanogrid_executor.launcher.session_worker import Worker
from nanogrid_executor.launcher.signals import Signals
from nanogrid_executor.launcher.start_failure import CONTEXT_BUSY, CONTEXT_LIMIT, StartFailure
from nanogrid_executor.launcher.tree_usage import SandboxCgroup, tree_bytes

EXIT_CLOSED: Final = 0
EXIT_TERMINATED: Final = 128 + signal.SIGTERM
MEMORY_SECONDS: Final = 5.0  # contexts and processes in the background grow between executions


def serve(sock: socket.socket, signals: Signals, payload: bytes, limits: spawn.Limits) -> int:
    """Serve one agent; returns the launcher's exit code.

    Raises:
        ProtocolError, OSError: the agent disconnected without ``CLOSE``; all processes are killed.
    """
    session = json.loads(payload)
    set_process_option(PR_SET_CHILD_SUBREAPER, 1)  # for tests; PID 1 adopts orphans anyway
    live_memory = bool(session.get("liveMemory"))  # an older agent does not ask for it
    server = SessionServer(sock, signals, session["cwd"], limits, live_memory=live_memory)
    # Held until no process is left: an agent that starts in the meantime waits for it.
    with open(session["lock"], "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        send_ready(sock)
        try:
            return server.loop()
        finally:
            kill_everything(server.trees, signals)


def send_ready(sock: socket.socket) -> None:
    """Send ``READY`` with a pidfd, which shows the agent when this process has ended."""
    try:
        pidfd = os.pidfd_open(os.getpid())
    except OSError:
        frames.send_json(sock, session_frames.READY, {"processFd": False})
        return
    body = json.dumps({"processFd": True}).encode()
    message = frames.HEADER.pack(session_frames.READY, len(body)) + body
    sent = socket.send_fds(sock, [message], [pidfd])
    sock.sendall(message[sent:])
    os.close(pidfd)


class SessionServer:
    """All workers of the sandbox; a :class:`session_worker.WorkerHost`."""

    def __init__(
        self,
        sock: socket.socket,
        signals: Signals,
        cwd: str,
        limits: spawn.Limits,
        *,
        live_memory: bool = False,
    ) -> None:
        self.sock, self.signals, self.cwd, self.limits = sock, signals, cwd, limits
        self.sandbox = SandboxCgroup()
        self._own_bytes = self.sandbox.resident.read()
        self._news = MemoryNews(wanted=live_memory)
        self.workers: list[Worker] = []
        self.contexts: dict[str, Worker] = {}
        self.running: dict[int, Worker] = {}
        self._receiver = session_frames.Receiver(sock)
        self._poll = select.poll()
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._reaper = Reaper()
        self._closing = False
        self.watch(sock.fileno(), select.POLLIN, self._receive)
        for fd in signals.fds:
            self.watch(fd, select.POLLIN, partial(signals.read, [fd]))

    @property
    def trees(self) -> list[ProcessTree]:
        """The process trees of all workers."""
        return [worker.tree for worker in self.workers]

    def loop(self) -> int:
        """Serve until the agent sends ``CLOSE`` or the kubelet sends SIGTERM."""
        while not self._closing:
            wait = min([MEMORY_SECONDS, *(worker.seconds_left() for worker in self.workers)])
            for fd, _ in self._poll.poll(int(wait * 1000) + 1):
                callback = self._callbacks.get(fd)
                if callback is not None:  # an earlier callback of this round may have closed it
                    callback()
            self._reaper.reap(self.trees)
            for worker in list(self.workers):
                worker.tick()
            if self._news.due():
                self._send_memory()
            if self.signals.terminated:
                for worker in self.running.values():
                    if worker.execution is not None:
                        worker.execution.stop_requested = True
                if not self.running:
                    return EXIT_TERMINATED
        return EXIT_CLOSED

    def _send_memory(self) -> None:
        """Send what the whole sandbox holds: its limit is for all executions and contexts."""
        resident = self.sandbox.resident.read()
        if resident is None or self._own_bytes is None:
            return  # there is no cgroup
        current = max(0, resident - self._own_bytes)
        if self._news.take(current, current):
            value = {"memoryBytes": current}
            session_frames.send_json(self.sock, frames.MEMORY, 0, value)

    # -- messages of the agent

    def _receive(self) -> None:
        message = self._receiver.receive()
        if message is None:
            raise frames.ProtocolError("the agent disconnected without CLOSE")
        kind, number, payload = message
        if kind == frames.RUN:
            self._run(number, json.loads(payload), time.monotonic())
        elif kind == frames.CANCEL:
            worker = self.running.get(number)
            if worker is not None and worker.execution is not None:
                worker.execution.stop_requested = True
                worker.tick()
        elif kind == session_frames.DROP:
            self._drop(json.loads(payload)["context"])
        elif kind == session_frames.CLOSE:
            self._closing = True
        elif kind != session_frames.PART:
            raise frames.ProtocolError(f"unexpected frame {kind!r}")

    def _drop(self, name: str) -> None:
        worker = self.contexts.get(name)
        if worker is None:
            self.send_contexts()
            return
        worker.kill()

    def _run(self, number: int, spec: dict[str, Any], received: float) -> None:
        execution = SessionExecution(number, spec, received)
        try:
            worker = self._worker_for(execution)
        except spawn.SpawnError as error:
            exited = exited_unstarted(error.failure)
            session_frames.send_json(self.sock, frames.EXITED, number, exited)
            return
        execution.attach(self.sandbox, worker.tree)
        self.running[number] = worker
        request = None
        if spec["shell"]:
            execution.mark_started()
            self.send(frames.STARTED, number, execution.started_payload())
        else:
            context = execution.context is not None
            filename = f"{self.cwd.rstrip('/')}/execution_{number}.py"
            if not context:
                execution.write_script(filename)
            request = session_command.interpreter_request(number, spec, filename, context=context)
        worker.start(execution, request, spec["stdin"].encode())
        if worker.name is not None:
            self.send_contexts()

    def _worker_for(self, execution: SessionExecution) -> Worker:
        """The context that the execution names, or a new process tree.

        Raises:
            SpawnError: the context is busy, there are too many, or the program does not start.
        """
        name = execution.context
        worker = None if name is None else self.contexts.get(name)
        if worker is not None:
            return self._idle(worker)
        if name is not None and len(self.contexts) >= MAX_CONTEXTS:
            names = ", ".join(sorted(self.contexts))
            message = f"{name!r} would be one more than {MAX_CONTEXTS}: {names}"
            raise spawn.SpawnError(StartFailure(CONTEXT_LIMIT, message))
        worker = Worker(self, self._start_tree(execution.spec, context=name is not None), name)
        self.workers.append(worker)
        if name is not None:
            self.contexts[name] = worker
            execution.context_new = True
        return worker

    def _start_tree(self, spec: dict[str, Any], *, context: bool) -> ProcessTree:
        argv = session_command.arguments(spec, context=context)
        env = session_command.environment(spec, os.environ.get("PATH"), context=context)
        with_stdin = not context and bool(spec["stdin"])
        return ProcessTree(
            argv,
            self.cwd,
            env,
            with_stdin=with_stdin,
            control=not spec["shell"],
            limits=self.limits,
        )

    def _idle(self, worker: Worker) -> Worker:
        if worker.execution is not None:
            message = f"context {worker.name!r} runs execution {worker.execution.number}"
            raise spawn.SpawnError(StartFailure(CONTEXT_BUSY, message))
        worker.discard_idle_output()
        return worker

    # -- what a worker needs (session_worker.WorkerHost)

    def watch(self, fd: int, events: int, callback: Callable[[], object]) -> None:
        """Call ``callback`` at these events."""
        self._poll.register(fd, events)
        self._callbacks[fd] = callback

    def unwatch(self, fd: int) -> None:
        """Stop watching the descriptor."""
        if self._callbacks.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def send(self, kind: bytes, number: int, payload: bytes = b"") -> None:
        """Send a message to the agent."""
        session_frames.send(self.sock, kind, number, payload)

    def finished(self, worker: Worker, execution: SessionExecution) -> None:
        """Report the end of an execution."""
        self.running.pop(execution.number, None)
        execution.remove_script()
        if worker.name is not None:
            self.send_contexts()  # before EXITED: the list is current when the execution ends
        session_frames.send_json(self.sock, frames.EXITED, execution.number, execution.exited())

    def closed(self, worker: Worker) -> None:
        """Forget a worker that has ended."""
        self.workers.remove(worker)
        if worker.name is not None:
            if self.contexts.get(worker.name) is worker:
                del self.contexts[worker.name]
            if worker.execution is None:
                own_log.write("WARNING", f"context {worker.name!r} ended")
            self.send_contexts()

    def send_contexts(self) -> None:
        """Send the list of contexts to the agent."""
        now = time.monotonic()
        contexts = [
            {
                "name": name,
                "executions": worker.executions,
                "busy": worker.execution is not None,
                "ageSeconds": round(now - worker.created, 3),
                "memoryBytes": tree_bytes(worker.tree, self.sandbox),
            }
            for name, worker in self.contexts.items()
        ]
        session_frames.send_json(self.sock, session_frames.CONTEXTS, 0, contexts)
