"""An interpreter that waits for its job, in a pod of a pool. Standard library only.

The process ``python3 main.py`` is started before there is a job, imports the pool's modules, and
waits in ``waiting_site/sitecustomize.py``. It runs the job if the job's own process would be the
same one. Otherwise it is killed, and the job gets a new process. A job without a pool never imports
this module.
"""

import os
import select
import socket
import time
from collections.abc import Iterable
from signal import SIGKILL
from typing import Final

from nanogrid_executor.launcher import batch, frames, own_log, proc, spawn, start_failure
from nanogrid_executor.launcher.signals import Signals, exit_of, signal_name
from nanogrid_executor.launcher.taken import TakenProcess
from nanogrid_executor.launcher.usage import UsageSampler
from nanogrid_executor.launcher.waiting_fit import COMMAND, Waiting, encode, fits

SITE: Final = os.path.join(os.path.dirname(os.path.abspath(__file__)), "waiting_site")
VARIABLE: Final = "NANOGRID_WAITING"  # also in sitecustomize.py
PRELOAD_SECONDS: Final = 60.0
START_SECONDS: Final = 5.0  # from the job to the interpreter's answer; usually below 1 ms
REPORT_BYTES: Final = 1024 * 1024  # more than any interpreter's report has
READ_BYTES: Final = 64 * 1024


class WaitingInterpreter:
    """The process, from its start to the job."""

    def __init__(
        self,
        signals: Signals,
        limits: spawn.Limits,
        cwd: str,
        modules: list[str],
        preload_seconds: float = PRELOAD_SECONDS,
    ) -> None:
        """Start it; a failure is logged, and jobs then get new processes.

        Args:
            signals: the launcher's.
            limits: of the process.
            cwd: where it waits.
            modules: their names; one that cannot be imported is logged and skipped.
            preload_seconds: how long their import may take.
        """
        self._signals = signals
        self._deadline = time.monotonic() + preload_seconds
        env = spawn.environment({}, os.environ.get("PATH"))
        self._waiting = Waiting(cwd, env, start_failure.find(COMMAND[0], env["PATH"]))
        self._process: spawn.SpawnedProcess | None = None
        self._waits = False  # the process has reported that it waits
        self._announced = False
        self._status: int | None = None  # wait status of the process
        self._text = b""
        try:
            self._start(limits, modules)
        except spawn.SpawnError as error:
            own_log.write("WARNING", f"no interpreter waits: {error.failure.message}")

    def _start(self, limits: spawn.Limits, modules: list[str]) -> None:
        child_control, self._control = os.pipe2(os.O_CLOEXEC)
        self._report, child_report = os.pipe2(os.O_CLOEXEC)
        child_stdin, self._stdin = os.pipe2(os.O_CLOEXEC)
        inherited = (child_control, child_report, child_stdin)
        setting = " ".join([*map(str, inherited), ",".join(modules)])
        env = {**self._waiting.env, "PYTHONPATH": SITE, VARIABLE: setting}
        os.set_blocking(self._control, False)

        def inherit() -> None:
            for fd in inherited:
                os.set_inheritable(fd, True)

        try:
            self._process = spawn.spawn(
                COMMAND,
                self._waiting.cwd,
                env,
                with_stdin=False,
                limits=limits,
                before_exec=inherit,
            )
        except spawn.SpawnError:
            _close([self._control, self._report, self._stdin])
            raise
        finally:
            _close(inherited)

    def wait_for(self, sock: socket.socket) -> bool:
        """Wait until the agent sends something; False when SIGTERM arrived first.

        Meanwhile ``READY`` is sent as soon as it is known whether the interpreter waits.
        """
        while not self._signals.terminated:
            if not self._announced and (self._waits or self._process is None):
                frames.send(sock, frames.READY)
                self._announced = True
            seconds = None if self._announced else max(0.0, self._deadline - time.monotonic())
            watched = [] if self._process is None else [self._report]
            ready = self._signals.poll(seconds, sock.fileno(), *watched)
            if self._process is not None:
                self._observe(self._report in ready)
            if sock.fileno() in ready and not self._signals.terminated:
                return True
        return False

    def take(
        self, argv: list[str], cwd: str, env: dict[str, str], *, with_stdin: bool
    ) -> TakenProcess | None:
        """Let the interpreter run the job; None when it ended or does not fit: it is gone then.

        Args:
            argv: the job's command.
            cwd: its working directory.
            env: its whole environment.
            with_stdin: whether the process gets a pipe as its standard input.
        """
        process = self._process
        if process is None or not self._waits or not self._fits(argv, cwd, env):
            self.close()
            return None
        # The job has the preloaded modules in memory as if it had imported them. Their CPU time
        # is not the job's.
        usage = UsageSampler(already_private=proc.private_bytes(process.pid))
        cpu_before = proc.cpu_seconds(proc.read_table([process.pid]), [process.pid])
        if not self._hand_over(encode(argv, env, with_stdin=with_stdin)):
            usage.close()
            self._give_up("it did not take the job")
            return None
        _close([self._control, self._report])
        self._process = None
        if not with_stdin:
            os.close(self._stdin)
        taken = process._replace(stdin=self._stdin if with_stdin else None)
        return TakenProcess(taken, usage, cpu_before)

    def close(self) -> None:
        """Kill the process and what it has started, and reap them."""
        process = self._process
        if process is None:
            return
        batch.kill_all(SIGKILL, process.pid)
        while True:
            try:
                self._note_end(*os.waitpid(-1, 0))
            except ChildProcessError:
                break
        _close([self._control, self._report, self._stdin, process.stdout, process.stderr])
        self._process = None

    def _fits(self, argv: list[str], cwd: str, env: dict[str, str]) -> bool:
        try:
            files = os.listdir(cwd)
        except OSError:
            return False  # the new process reports it
        return fits(self._waiting, argv, cwd, env, files)

    def _hand_over(self, job: bytes) -> bool:
        """Send the job; whether the interpreter answers that it starts it."""
        try:
            if os.write(self._control, job) < len(job):
                return False
        except (BrokenPipeError, BlockingIOError):
            return False
        os.close(self._control)  # the end of the job
        self._control = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
        poll = select.poll()
        poll.register(self._report, select.POLLIN)
        deadline = time.monotonic() + START_SECONDS
        text = b""
        while not text.endswith(b"\n"):
            left = max(0.0, deadline - time.monotonic())
            if not poll.poll(left * 1000) or not (part := os.read(self._report, READ_BYTES)):
                return False
            text += part
        return text == b"starts\n"

    def _observe(self, has_report: bool) -> None:
        """Read the report; notice a process that has ended, or imports for too long."""
        if has_report:
            data = os.read(self._report, READ_BYTES)
            self._text += data
            if not data:
                self._give_up("it ended")
                return
            if self._waits or len(self._text) > REPORT_BYTES:
                self._give_up("its report is invalid")
                return
            if self._text.endswith(b"\nwaits\n") or self._text == b"waits\n":
                self._accept(self._text.decode(errors="replace"))
        if self._reap():
            self._give_up("it ended")
        elif not self._waits and time.monotonic() >= self._deadline:
            self._give_up("its modules are not imported in time")

    def _accept(self, report: str) -> None:
        kinds: dict[str, set[str]] = {"failed": set(), "module": set(), "variable": set()}
        for line in report.splitlines():
            kind, _, text = line.partition(" ")
            kinds.setdefault(kind, set()).add(text)
        for text in sorted(kinds["failed"]):
            own_log.write("WARNING", f"a module is not preloaded: {text}")
        self._waiting = self._waiting._replace(modules=kinds["module"], variables=kinds["variable"])
        self._text = b""
        self._waits = True

    def _reap(self) -> bool:
        """Reap ended children, also orphans; whether the interpreter is one of them."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return self._status is not None
            if pid == 0:
                return self._status is not None
            self._note_end(pid, status)

    def _note_end(self, pid: int, status: int) -> None:
        if self._process is not None and pid == self._process.pid:
            self._status = status

    def _give_up(self, why: str) -> None:
        self.close()
        code, number = exit_of(self._status or 0)
        how = signal_name(number) or f"exit code {code}"
        own_log.write("WARNING", f"no interpreter waits: {why} ({how})")


def _close(fds: Iterable[int]) -> None:
    for fd in fds:
        os.close(fd)
