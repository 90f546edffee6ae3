"""One execution of a session: its timeouts, its usage, and its report.

Standard library only.
"""

import json
import os
import signal
import time
from contextlib import suppress
from typing import Any, Final, Protocol

from nanogrid_executor.launcher import batch, proc
from nanogrid_executor.launcher.process_tree import ProcessTree
from nanogrid_executor.launcher.signals import signal_name
from nanogrid_executor.launcher.start_failure import StartFailure
from nanogrid_executor.launcher.tree_usage import SOURCE, SandboxCgroup, TreeUsageSampler

# Of the grace period. Code that was inside os.system() has not received the first signal.
SECOND_SIGNAL_AT: Final = 0.5


class Stoppable(Protocol):
    """The worker that the execution runs in."""

    def ask_to_stop(self, execution: "SessionExecution") -> None:
        """Send the signal that asks the code to stop."""

    def kill(self) -> None:
        """Kill its processes."""


class SessionExecution:
    """One execution."""

    def __init__(self, number: int, spec: dict[str, Any], received: float) -> None:
        """Nothing runs yet.

        Args:
            number: the execution's number.
            spec: the ``RUN`` message.
            received: when that message came, on the monotonic clock.
        """
        self.number, self.spec, self.received = number, spec, received
        self.context: str | None = None if spec["shell"] else spec["context"]
        self.keep_processes = bool(spec.get("keepProcesses"))  # an older agent sends none
        self.pids_before: set[int] = set()
        self._script: str | None = None
        self.context_new = False
        self.stop_requested = self.timed_out = self.interrupted = False
        self._usage: TreeUsageSampler | None = None
        self._started: float | None = None
        self._ended: float | None = None
        self._timeout, self._grace = float(spec["timeoutSeconds"]), float(spec["graceSeconds"])
        self._deadline = time.monotonic() + self._timeout
        self._second_signal_at = self._kill_at = float("inf")
        self._logged = {1: 0, 2: 0}
        self._outcome: dict[str, Any] = {}

    def write_script(self, path: str) -> None:
        """Put the code into a file while it runs: processes that it starts may look for it.

        Without a file (the disk is full, user code has a file of that name, this Python does not
        know the encoding) the code also runs.
        """
        try:
            encoding = self.spec.get("encoding", "utf-8")  # an older agent sends none
            errors = "surrogatepass" if encoding == "utf-8" else "strict"
            with open(path, "x", encoding=encoding, errors=errors) as file:
                self._script = path
                file.write(self.spec["code"])
        except (OSError, LookupError, UnicodeError):
            self.remove_script()  # an incomplete file is worse than none

    def remove_script(self) -> None:
        """Remove that file, unless user code removed it."""
        if self._script is not None:
            with suppress(OSError):
                os.unlink(self._script)
            self._script = None

    def attach(self, sandbox: SandboxCgroup, tree: ProcessTree) -> None:
        """Note the state of its process tree before the code starts."""
        new_tree = self.context is None
        if not new_tree:
            self.pids_before = set(tree.pids(proc.read_table()))
        self._usage = TreeUsageSampler(sandbox, tree, new_tree=new_tree)

    @property
    def has_started(self) -> bool:
        """Whether the code is known to run, or to have run."""
        return self._started is not None

    def mark_started(self) -> bool:
        """The code runs; False when that was known already."""
        if self.has_started:
            return False
        self._started = time.monotonic()
        self._deadline = self._started + self._timeout
        return True

    def started_payload(self) -> bytes:
        """The payload of ``STARTED``."""
        assert self._started is not None  # noqa: S101 mark_started() was called
        return json.dumps({"startMillis": int((self._started - self.received) * 1000)}).encode()

    def seconds_left(self) -> float:
        """Seconds until the next timeout or sample."""
        due = min(self._deadline, self._second_signal_at, self._kill_at)
        if self._kill_at < float("inf"):
            due = min(self._second_signal_at, self._kill_at)
        assert self._usage is not None  # noqa: S101 attach() was called
        return max(0.0, min(due - time.monotonic(), self._usage.seconds_left()))

    def enforce(self, worker: Stoppable) -> None:
        """Timeout and interruption: first a signal to stop, after the grace period a kill."""
        assert self._usage is not None  # noqa: S101 attach() was called
        self._usage.sample()
        now = time.monotonic()
        if self._kill_at == float("inf"):
            if self.stop_requested or now >= self._deadline:
                self.interrupted, self.timed_out = self.stop_requested, not self.stop_requested
                self._second_signal_at = now + self._grace * SECOND_SIGNAL_AT
                self._kill_at = now + self._grace
                worker.ask_to_stop(self)
        elif now >= self._kill_at:
            worker.kill()
        elif now >= self._second_signal_at:
            self._second_signal_at = float("inf")
            worker.ask_to_stop(self)

    def log(self, fd: int, data: bytes) -> None:
        """Copy the first ``batch.LOG_BYTES`` of its output to the container's log."""
        room = batch.LOG_BYTES - self._logged[fd]
        if room > 0:
            self._logged[fd] += len(data)
            if not batch.copy_to_log(fd, data[:room]):
                self._logged[fd] = batch.LOG_BYTES

    def mark_ended(self) -> None:
        """The program has ended; its remaining processes are being killed."""
        self._ended = time.monotonic()

    def finish(self, code: int, number: int, *, context_lost: bool = False) -> None:
        """All its processes have ended: note the outcome and the usage.

        Args:
            code: its exit code.
            number: the signal that ended it; 0 for none.
            context_lost: whether its context ended with it.
        """
        usage = self._usage
        assert usage is not None  # noqa: S101 attach() was called
        if not context_lost and self.context is not None:
            usage.sample_now()
        ended = self._ended or time.monotonic()
        self._outcome = {
            "exitCode": code,
            "signal": signal_name(number),
            "oomKilled": usage.oom_killed(),
            "contextLost": context_lost,
            "durationMillis": int((ended - (self._started or ended)) * 1000),
            "cpuMillis": int(usage.cpu_seconds() * 1000),
            "peakMemoryBytes": usage.peak(killed=number == signal.SIGKILL),
        }

    def exited(self) -> dict[str, Any]:
        """The payload of ``EXITED``."""
        return {
            **self._outcome,
            "timedOut": self.timed_out,
            "interrupted": self.interrupted,
            "contextNew": self.context_new,
            "memorySource": SOURCE,
            "error": None,
            "errorCause": None,
        }


def exited_unstarted(failure: StartFailure) -> dict[str, Any]:
    """The payload of ``EXITED`` for an execution that could not be started."""
    return {
        "exitCode": failure.exit_code,
        "signal": None,
        "timedOut": False,
        "interrupted": False,
        "oomKilled": False,
        "contextLost": False,
        "contextNew": False,
        "durationMillis": 0,
        "cpuMillis": 0,
        "peakMemoryBytes": 0,
        "memorySource": SOURCE,
        "error": failure.message,
        "errorCause": failure.cause,
    }
