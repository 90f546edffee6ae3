"""PID 1 of a session's sandbox: many executions over one connection, contexts between them.

Standard library only; imported when the agent says that it is a session. One thread and one poll
loop, as for a batch job. Every execution has a tree of processes of its own
(:mod:`nanogrid_executor.session_cell`); when its program has ended the rest of the tree is ended,
while contexts live on in theirs. Whatever became a child of PID 1 otherwise is ended at sight.
"""

import fcntl
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from nanogrid_executor import execute, frames, session_frames, session_processes, spawn
from nanogrid_executor.session_cell import PR_SET_CHILD_SUBREAPER, Cell, send_signal, set_option
from nanogrid_executor.session_gauge import Sandbox, tree_bytes
from nanogrid_executor.session_run import Run, refusal
from nanogrid_executor.session_worker import Worker
from nanogrid_executor.signals import Signals

MAX_CONTEXTS: Final = 8
END_SECONDS: Final = 5.0
DEFAULT_ENV: Final = {"MPLBACKEND": "Agg"}  # figures become results; there is no screen
EXIT_CLOSED: Final = 0
EXIT_TERMINATED: Final = 128 + signal.SIGTERM
LIBRARY: Final = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BOOT: Final = (
    "import sys; sys.path.insert(0, sys.argv[1]); from nanogrid_executor import context_host; "
    "context_host.main(int(sys.argv[2]), context=sys.argv[3] == 'context')"
)
SHELL: Final = 'command -v bash >/dev/null 2>&1 && exec bash -c "$1"; exec sh -c "$1"'


def serve(sock: socket.socket, signals: Signals, payload: bytes) -> int:
    """Serve one agent; the launcher's exit code.

    Raises:
        ProtocolError, OSError: the agent went without ``CLOSE``; nothing runs any more.
    """
    order = json.loads(payload)
    set_option(PR_SET_CHILD_SUBREAPER, 1)  # which PID 1 is anyway
    server = Server(sock, signals, order["cwd"])
    # Held until nothing runs any more: an agent that starts meanwhile waits for it.
    with open(order["lock"], "rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        greet(sock)
        try:
            return server.loop()
        finally:
            server.end_everything()


def greet(sock: socket.socket) -> None:
    """Say that we are ready, and give the agent a handle that tells it when we are gone."""
    try:
        handle = os.pidfd_open(os.getpid())
    except OSError:
        frames.send_json(sock, session_frames.READY, {"processFd": False})
        return
    body = json.dumps({"processFd": True}).encode()
    message = frames.HEADER.pack(session_frames.READY, len(body)) + body
    sent = socket.send_fds(sock, [message], [handle])
    sock.sendall(message[sent:])
    os.close(handle)


class Server:
    """All that lives in the sandbox; a :class:`session_worker.Room`."""

    def __init__(self, sock: socket.socket, signals: Signals, cwd: str) -> None:
        self.sock, self.signals, self.cwd = sock, signals, cwd
        self.sandbox = Sandbox()
        self.workers: list[Worker] = []
        self.contexts: dict[str, Worker] = {}
        self.running: dict[int, Worker] = {}
        self._receiver = session_frames.Receiver(sock)
        self._poll = select.poll()
        self._served: dict[int, Callable[[], object]] = {}
        self._strays = self._closing = False
        self.watch(sock.fileno(), select.POLLIN, self._take)
        for fd in signals.fds:
            self.watch(fd, select.POLLIN, partial(signals.take, [fd]))

    def loop(self) -> int:
        """Serve until the agent closes, or the kubelet stops us."""
        while not self._closing:
            wait = min((worker.patience() for worker in self.workers), default=60.0)
            for fd, _ in self._poll.poll(int(wait * 1000) + 1):
                served = self._served.get(fd)
                if served is not None:  # another one's turn may have closed it
                    served()
            self._reap()
            for worker in list(self.workers):
                worker.tick()
            if self.signals.terminated:
                for worker in self.running.values():
                    if worker.run is not None:
                        worker.run.stop_asked = True
                if not self.running:
                    return EXIT_TERMINATED
        return EXIT_CLOSED

    # -- what the agent says

    def _take(self) -> None:
        message = self._receiver.take()
        if message is None:
            raise frames.ProtocolError("the agent left without a word")
        kind, number, payload = message
        if kind == session_frames.RUN:
            self._begin(number, json.loads(payload), time.monotonic())
        elif kind == session_frames.INTERRUPT:
            worker = self.running.get(number)
            if worker is not None and worker.run is not None:
                worker.run.stop_asked = True
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
            self.list_contexts()
            return
        worker.drop()

    def _begin(self, number: int, order: dict[str, Any], received: float) -> None:
        run = Run(number, order, received)
        try:
            worker = self._worker(run)
        except spawn.SpawnError as error:
            report = refusal(error.exit_code, str(error))
            session_frames.send_json(self.sock, session_frames.EXITED, number, report)
            return
        run.settle(self.sandbox, worker.cell)
        self.running[number] = worker
        request = None
        if not order["shell"]:
            context = run.context is not None
            filename = f"{self.cwd.rstrip('/')}/execution_{number}.py"
            if not context:
                run.write_script(filename)
            request = {
                "number": number,
                "code": order["code"],
                "filename": filename,
                "env": order["env"] if context else {},
                "stdin": order["stdin"].encode() if context and order["stdin"] else None,
            }
        else:
            run.begin_now()
            self.send(session_frames.STARTED, number, run.started())
        worker.begin(run, request, order["stdin"].encode())
        if worker.name is not None:
            self.list_contexts()

    def _worker(self, run: Run) -> Worker:
        """The context that the execution names, or a new cell.

        Raises:
            SpawnError: there is none to be had.
        """
        order, name = run.order, run.context
        worker = None if name is None else self.contexts.get(name)
        if worker is not None:
            return self._idle(worker)
        if name is not None and len(self.contexts) >= MAX_CONTEXTS:
            names = ", ".join(sorted(self.contexts))
            raise spawn.SpawnError(
                f"context {name!r} cannot begin: there are {MAX_CONTEXTS} contexts already, the "
                f"most there may be; drop one that is not needed any more ({names})",
                126,
            )
        if order["shell"]:
            argv = ["/bin/sh", "-c", SHELL, "sh", order["code"]]
        else:
            kind = "context" if name is not None else "once"
            argv = ["python3", "-c", BOOT, LIBRARY, "{control}", kind]
        given = {} if name is not None else order["env"]
        env = spawn.environment({**DEFAULT_ENV, **given}, os.environ.get("PATH"))
        piped = name is None and bool(order["stdin"])
        cell = Cell(argv, self.cwd, env, with_stdin=piped, control=not order["shell"])
        worker = Worker(self, cell, name)
        self.workers.append(worker)
        if name is not None:
            self.contexts[name] = worker
            run.context_new = True
        return worker

    def _idle(self, worker: Worker) -> Worker:
        if worker.run is not None:
            raise spawn.SpawnError(
                f"context {worker.name!r} is busy with execution {worker.run.number}; wait for its "
                "end, or interrupt it",
                126,
            )
        worker.drain_idle()
        return worker

    # -- what a worker needs (session_worker.Room)

    def watch(self, fd: int, events: int, served: Callable[[], object]) -> None:
        """Call ``served`` when these events come."""
        self._poll.register(fd, events)
        self._served[fd] = served

    def forget(self, fd: int) -> None:
        """Watch it no more."""
        if self._served.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def send(self, kind: bytes, number: int, payload: bytes = b"") -> None:
        """Tell the agent."""
        session_frames.send(self.sock, kind, number, payload)

    def finished(self, worker: Worker, run: Run) -> None:
        """An execution is over."""
        self.running.pop(run.number, None)
        run.remove_script()
        if worker.name is not None:
            self.list_contexts()  # first: when the execution ends, the list is right
        session_frames.send_json(self.sock, session_frames.EXITED, run.number, run.report())

    def closed(self, worker: Worker) -> None:
        """A worker has nothing left."""
        self.workers.remove(worker)
        if worker.name is not None:
            if self.contexts.get(worker.name) is worker:
                del self.contexts[worker.name]
            if worker.run is None:
                print(f"nanogrid launcher: context {worker.name!r} ended", file=sys.stderr)
            self.list_contexts()

    def list_contexts(self) -> None:
        """Tell the agent which contexts there are."""
        now = time.monotonic()
        listed = [
            {
                "name": name,
                "executions": worker.executions,
                "busy": worker.run is not None,
                "ageSeconds": round(now - worker.born, 3),
                "memoryBytes": tree_bytes(worker.cell, self.sandbox),
            }
            for name, worker in self.contexts.items()
        ]
        session_frames.send_json(self.sock, session_frames.CONTEXTS, 0, listed)

    # -- processes

    def _reap(self) -> None:
        """Collect every child that ended; end children that nobody has started here."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            owner = next((w for w in self.workers if w.cell.keeper == pid), None)
            if owner is not None and not owner.cell.gone:
                owner.cell.reaped(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
            if owner is None or status != 0:
                self._strays = True  # a keeper that was killed left its tree to us
        if self._strays:
            self._strays = self._kill_strays() > 0

    def _kill_strays(self) -> int:
        """End what is below us and in no cell; how many processes that were."""
        processes = session_processes.table()
        me = os.getpid()
        keepers = {worker.cell.keeper for worker in self.workers if not worker.cell.gone}
        strays = [
            pid
            for pid, entry in processes.items()
            if entry.parent == me and pid not in keepers and not entry.ended
        ]
        for stray in strays:
            for pid in (*session_processes.below(processes, stray), stray):
                send_signal(pid, signal.SIGKILL)
        return len(strays)

    def end_everything(self) -> None:
        """Leave no process behind: neither executions nor contexts."""
        deadline = time.monotonic() + END_SECONDS
        while time.monotonic() < deadline:
            if os.getpid() == 1:
                execute.kill_all(signal.SIGKILL, None)
            for worker in self.workers:
                worker.cell.kill(signal.SIGKILL, keeper=True)
            self._kill_strays()
            try:
                while os.wait4(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            self.signals.sleep(0.02)
