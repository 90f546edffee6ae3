"""One session: the parts that its HTTP API and its agent share."""

import os
import socket
import threading
import time
from typing import Any, Final

from nanogrid import names, wire
from nanogrid.live_memory import MemoryUse
from nanogrid.reasons import Reason
from nanogrid_executor.log import log, warn
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.errors import ApiError, ending, initializing
from nanogrid_executor.session.execution_queue import QUEUE_LIMIT, ExecutionQueue
from nanogrid_executor.session.execution_runner import ExecutionRunner
from nanogrid_executor.session.executions import Executions
from nanogrid_executor.session.history import History
from nanogrid_executor.session.journal import Journal
from nanogrid_executor.session.memory_watch import MemoryWatch
from nanogrid_executor.session.record import timestamp
from nanogrid_executor.session.records import Records
from nanogrid_executor.session.reporter import SessionReporter
from nanogrid_executor.session.request_gate import RequestGate
from nanogrid_executor.session.sandbox_protocol import SandboxProtocol
from nanogrid_executor.session.spool import Spool
from nanogrid_executor.session.timeouts import Clock, SessionTimeouts
from nanogrid_executor.session.workspace import Workspace

STATE_FOLDER: Final = "session"
JOURNAL_FILE: Final = "journal"
SERIAL: Final = "Serial"


class Session:
    """The parts of one session, and its state as a whole."""

    def __init__(
        self,
        task: wire.PodTask,
        paths: Paths,
        sandbox: SandboxProtocol,
        url: str = "",
        *,
        clock: Clock = time.monotonic,
        queue_limit: int = QUEUE_LIMIT,
    ) -> None:
        """Begin a session, or continue one of an earlier agent.

        Args:
            task: its ``session`` is set.
            paths: the pod's.
            sandbox: runs the code.
            url: the operator's results endpoint; empty: changes are not reported.
            clock: measures the timeouts.
            queue_limit: how many executions may wait.
        """
        if task.session is None:
            raise ValueError(f"the task of {task.job} is not that of a session")
        self.task, self.rules = task, task.session
        self.paths, self.sandbox = paths, sandbox
        self.workspace = Workspace(paths.workspace)
        self.inputs: wire.InputReport | None = None
        self.identity = _identity(task)
        state = os.path.join(paths.run_dir, STATE_FOLDER)
        os.makedirs(state, exist_ok=True)
        self.journal = Journal(journal_file(paths))
        self.resumed = self.journal.exists
        records = Records(task.bucket, task.request_id, Spool(state), task.root)
        self.history = History(records, self.identity)
        age = max(0.0, time.monotonic() - self.journal.started) if self.journal.started else 0.0
        self.timeouts = SessionTimeouts(self.rules, clock, age)
        self.started_at = timestamp(time.time() - age)
        self.reporter = SessionReporter(url, paths.token, self.report)
        self.memory_watch = MemoryWatch(task.memory_limit_bytes, clock)
        serial = self.rules.concurrency_policy == SERIAL
        self.queue = ExecutionQueue(serial=serial, limit=queue_limit)
        self.executions = self._make_executions()
        self.gate = RequestGate()
        self.end_requested = threading.Event()
        self.end_reason: Reason | None = None
        self._numbered = threading.Event()

    def _make_executions(self) -> Executions:
        runner = ExecutionRunner(
            self.sandbox,
            self.queue,
            self.history,
            self.timeouts,
            self.reporter.changed,
            resumed=self.journal.last > 0,
        )
        return Executions(self.task, self.rules, self.journal, runner)

    def begin_numbering(self, last: int) -> None:
        """Accept executions from now on; the first gets the number after ``last``."""
        if not self.journal.exists:
            self.journal.begin(last, time.monotonic() - self.timeouts.age_seconds)
        self._numbered.set()

    @property
    def ready(self) -> bool:
        """Whether requests are accepted now."""
        numbered = self._numbered.is_set()
        return numbered and self.sandbox.available and self.executions.ending is None

    def request_end(self, reason: Reason, why: str = "") -> None:
        """Ask the session to end; the first reason is kept."""
        if self.end_reason is None:
            log("session-end-asked", reason=reason, why=why)
            self.end_reason = reason
        self.end_requested.set()

    def check_accepting(self) -> None:
        """Refuse work before the sandbox has connected once, and while the session ends.

        Raises:
            ApiError: 503.
        """
        reason = self.executions.ending or self.end_reason
        if reason is not None:
            raise ending(reason)
        if not self._numbered.is_set():
            raise initializing("The session is being prepared.")
        if not self.sandbox.available and self.executions.count == 0:
            raise initializing("The sandbox has not started yet.")

    def check_id(self, session_id: str | None, *, trusted: bool = True) -> None:
        """Refuse a request that is meant for another session.

        Args:
            session_id: which one is meant; None: this one.
            trusted: whether the caller may learn the id of this one.

        Raises:
            ApiError: 409.
        """
        if session_id is not None and session_id != self.task.request_id:
            own = f"session {self.task.request_id}" if trusted else "another session"
            message = f"This is {own}, not {session_id!a}."
            hint = "Delete the cookies of older sessions."
            raise ApiError(409, Reason.WRONG_SESSION, f"{message} {hint}")

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and body of the response to ``GET /health``, without the session's id."""
        body: dict[str, Any] = {
            "executions": self.executions.count,
            "running": self.queue.running,
            "waiting": self.queue.waiting,
            "sandboxRestarts": self.sandbox.restarts,
        }
        reason = self.executions.ending or self.end_reason
        if reason is not None:
            return 503, {"status": "ending", "reason": reason.value, **body}
        if not self.ready:
            return 503, {"status": "initializing", "sync": self._sync(), **body}
        return 200, {"status": "healthy", **body}

    def info(self) -> dict[str, Any]:
        """Body of the response to ``GET /container-info``."""
        return {
            **self.identity,
            "attempt": self.task.attempt,
            "started_at": self.started_at,
            "executions": self.executions.count,
            "running": self.queue.running,
            "work_dir": names.WORKSPACE,
            "data_dir": names.DEFAULT_DATA_PATH,
            "artifacts_dir": f"{names.WORKSPACE}/{self.task.outputs.path}",
            "s3_prefix": self._s3_prefix(),
            "idleTimeoutSeconds": self.rules.idle_timeout_seconds,
            "maxLifetimeSeconds": self.rules.max_lifetime_seconds,
            "ageSeconds": round(self.timeouts.age_seconds, 3),
            "maxExecutions": self.rules.max_executions,
            "executionTimeoutSeconds": self.rules.execution_timeout_seconds,
            "concurrencyPolicy": self.rules.concurrency_policy,
        }

    def watch_memory(self) -> None:
        """Report the session's state if its memory has changed noticeably; call it often."""
        current = self.sandbox.memory_bytes
        use = None if current is None else MemoryUse(current, self.history.peak_memory_bytes)
        if self.memory_watch.due(use):
            self.reporter.changed()

    def report(self) -> wire.SessionReport:
        """The state that is posted to the operator."""
        return wire.SessionReport(
            uid=self.task.uid,
            attempt=self.task.attempt,
            ready=self.ready,
            executions=self.executions.count,
            running=self.queue.running,
            last_activity_millis=int(self.timeouts.idle_seconds * 1000),
            restarts=self.sandbox.restarts,
            memory_bytes=self.sandbox.memory_bytes,
            peak_memory_bytes=self.history.peak_memory_bytes,
        )

    def _s3_prefix(self) -> str | None:
        if not self.task.bucket:
            return None
        prefix = self.task.key(names.session_prefix(self.task.request_id))
        return f"s3://{self.task.bucket}/{prefix}"

    def _sync(self) -> dict[str, int]:
        """The progress of the input sync; always complete, because this process starts after it."""
        files, size, millis = 0, 0, 0
        if self.inputs is not None:
            files, size = self.inputs.files, self.inputs.bytes
            millis = self.inputs.duration_millis
        return {
            "files": files,
            "bytes": size,
            "totalFiles": files,
            "totalBytes": size,
            "durationMillis": millis,
        }


def journal_file(paths: Paths) -> str:
    """The journal of the pod's session; it exists when the session accepts executions."""
    return os.path.join(paths.run_dir, STATE_FOLDER, JOURNAL_FILE)


def _identity(task: wire.PodTask) -> dict[str, Any]:
    hostname = socket.gethostname()
    try:
        address = socket.gethostbyname(hostname)  # a pod's /etc/hosts has it
    except OSError as error:
        warn("address-unknown", hostname=hostname, error=error)
        address = ""
    return {
        "session_id": task.request_id,
        "container_ip": address,
        "hostname": hostname,
        "namespace": task.namespace,
        "job": task.job,
    }
