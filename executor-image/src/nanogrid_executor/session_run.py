"""One execution of a session: its clock, its measure, and what is reported of it.

Standard library only.
"""

import json
import os
import time
from contextlib import suppress
from typing import Any, Final, Protocol

from nanogrid_executor import execute, session_processes
from nanogrid_executor.session_cell import Cell
from nanogrid_executor.session_gauge import SOURCE, Sandbox, TreeGauge

ASK_AGAIN: Final = 0.5  # of the grace: code that was inside os.system() has not seen the first one


class Stoppable(Protocol):
    """The worker that the execution runs in."""

    def ask_to_stop(self, run: "Run") -> None:
        """Send the signal that asks."""

    def drop(self) -> None:
        """End it."""


class Run:
    """One execution."""

    def __init__(self, number: int, order: dict[str, Any], received: float) -> None:
        self.number, self.order, self.received = number, order, received
        self.context: str | None = None if order["shell"] else order["context"]
        self.there_before: set[int] = set()
        self._script: str | None = None
        self.context_new = False
        self.stop_asked = self.timed_out = self.interrupted = False
        self._gauge: TreeGauge | None = None
        self._began: float | None = None
        self._ended: float | None = None
        self._timeout, self._grace = float(order["timeoutSeconds"]), float(order["graceSeconds"])
        self._deadline = time.monotonic() + self._timeout
        self._again_at = self._kill_at = float("inf")
        self._logged = {1: 0, 2: 0}
        self._outcome: dict[str, Any] = {}

    def write_script(self, path: str) -> None:
        """Put the code into a file while it runs, as processes that it starts may look for it.

        Without a file (the disk is full, user code has one of that name) the code runs as well.
        """
        try:
            with open(path, "x", encoding="utf-8", errors="surrogatepass") as file:
                self._script = path
                file.write(self.order["code"])
        except OSError:
            self.remove_script()  # half of the code would be worse than none

    def remove_script(self) -> None:
        """Remove that file, unless user code did so."""
        if self._script is not None:
            with suppress(OSError):
                os.unlink(self._script)
            self._script = None

    def settle(self, sandbox: Sandbox, cell: Cell) -> None:
        """Note how things are in its cell before it begins."""
        fresh = self.context is None
        if not fresh:
            self.there_before = set(cell.pids(session_processes.table()))
        self._gauge = TreeGauge(sandbox, cell, fresh=fresh)

    def begin_now(self) -> bool:
        """The code runs; False when that was known."""
        if self._began is not None:
            return False
        self._began = time.monotonic()
        self._deadline = self._began + self._timeout
        return True

    def started(self) -> bytes:
        """The payload of ``STARTED``."""
        assert self._began is not None  # noqa: S101 begin_now() was called
        return json.dumps({"startMillis": int((self._began - self.received) * 1000)}).encode()

    def patience(self) -> float:
        """Seconds until the clock asks for something."""
        due = min(self._deadline, self._again_at, self._kill_at)
        if self._kill_at < float("inf"):
            due = min(self._again_at, self._kill_at)
        assert self._gauge is not None  # noqa: S101 settle() was called
        return max(0.0, min(due - time.monotonic(), self._gauge.patience()))

    def enforce(self, worker: Stoppable) -> None:
        """Timeout and interruption: a word at first, after the grace the end."""
        assert self._gauge is not None  # noqa: S101 settle() was called
        self._gauge.sample()
        now = time.monotonic()
        if self._kill_at == float("inf"):
            if self.stop_asked or now >= self._deadline:
                self.interrupted, self.timed_out = self.stop_asked, not self.stop_asked
                self._again_at, self._kill_at = now + self._grace * ASK_AGAIN, now + self._grace
                worker.ask_to_stop(self)
        elif now >= self._kill_at:
            worker.drop()
        elif now >= self._again_at:
            self._again_at = float("inf")
            worker.ask_to_stop(self)

    def log(self, fd: int, data: bytes) -> None:
        """Copy the beginning of its output to the container's log."""
        room = execute.LOG_BYTES - self._logged[fd]
        if room > 0:
            self._logged[fd] += len(data)
            if not execute.mirror(fd, data[:room]):
                self._logged[fd] = execute.LOG_BYTES

    def stopped(self) -> None:
        """The program has ended; what it left is ended now."""
        self._ended = time.monotonic()

    def ended_with(self, code: int, number: int, *, context_lost: bool = False) -> None:
        """Everything is over: take its measure.

        Args:
            code: its exit code.
            number: the signal that ended it; 0 for none.
            context_lost: whether its context ended with it.
        """
        gauge = self._gauge
        assert gauge is not None  # noqa: S101 settle() was called
        if not context_lost and self.context is not None:
            gauge.look()
        ended = self._ended or time.monotonic()
        self._outcome = {
            "exitCode": code,
            "signal": execute.signal_name(number),
            "oomKilled": gauge.oom_killed(),
            "contextLost": context_lost,
            "durationMillis": int((ended - (self._began or ended)) * 1000),
            "cpuMillis": int(gauge.cpu_seconds() * 1000),
            "peakMemoryBytes": gauge.peak(),
            "memorySource": SOURCE,
        }

    def report(self) -> dict[str, Any]:
        """The payload of ``EXITED``."""
        return {
            **self._outcome,
            "timedOut": self.timed_out,
            "interrupted": self.interrupted,
            "contextNew": self.context_new,
            "error": None,
        }


def refusal(code: int, error: str) -> dict[str, Any]:
    """The payload of ``EXITED`` for an execution that could not be started."""
    return {
        "exitCode": code,
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
        "error": error,
    }
