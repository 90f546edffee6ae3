"""One session: what its HTTP API and its life cycle share."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths
from nanogrid_executor.session.errors import (
    RETRY_SECONDS,
    ApiError,
    ending,
    initializing,
)
from nanogrid_executor.session.executions import Executions
from nanogrid_executor.session.history import History
from nanogrid_executor.session.journal import Journal
from nanogrid_executor.session.life import Life
from nanogrid_executor.session.port import SandboxPort
from nanogrid_executor.session.record import stamp
from nanogrid_executor.session.records import Records
from nanogrid_executor.session.reporting import Reporter
from nanogrid_executor.session.spool import Spool
from nanogrid_executor.session.workspace import Workspace

STATE_FOLDER: Final = "session"
JOURNAL_FILE: Final = "journal"
# Requests that may wait at once: a full queue, the running one, and as many who only watch.
WAITING: Final = 96


class Session:
    """One session's parts, and what can be said of it as a whole."""

    def __init__(self, task: wire.Task, paths: Paths, sandbox: SandboxPort, url: str = "") -> None:
        """Take up a session where an agent before left it, or begin it.

        Args:
            task: its ``session`` is set.
            paths: the pod's.
            sandbox: where code runs.
            url: the operator's results endpoint; empty: nobody is told of changes.
        """
        if task.session is None:
            raise ValueError(f"the task of {task.job} is not that of a session")
        self.task = task
        self.rules = task.session
        self.paths = paths
        self.sandbox = sandbox
        self.workspace = Workspace(paths.workspace)
        self.inputs: wire.InputReport | None = None
        self.identity = _identity(task)
        state = os.path.join(paths.run_dir, STATE_FOLDER)
        os.makedirs(state, exist_ok=True)
        self.journal = Journal(os.path.join(state, JOURNAL_FILE))
        self.resumed = self.journal.exists
        records = Records(task.bucket, task.request_id, Spool(state))
        self.history = History(records, self.identity)
        age = max(0.0, time.monotonic() - self.journal.started) if self.journal.started else 0.0
        self.life = Life(self.rules, age_seconds=age)
        self.started_at = stamp(time.time() - age)
        self.reporter = Reporter(url, paths.token, self.report)
        self.executions = Executions(
            task,
            self.rules,
            sandbox,
            self.journal,
            self.history,
            self.life,
            self.reporter.changed,
        )
        self._gate = threading.BoundedSemaphore(WAITING)
        self.end_asked = threading.Event()  # the life cycle looks at it
        self.end_reason: Reason | None = None
        self._numbered = threading.Event()

    def number_from(self, last: int) -> None:
        """Executions may be accepted from now on; the first gets the number after ``last``."""
        if not self.journal.exists:
            self.journal.begin(last, time.monotonic() - self.life.age_seconds)
        self._numbered.set()

    @property
    def ready(self) -> bool:
        """Whether requests are taken now."""
        numbered = self._numbered.is_set()
        return numbered and self.sandbox.available and self.executions.ending is None

    def ask_end(self, reason: Reason, why: str = "") -> None:
        """Let the session end; the first reason stays."""
        if self.end_reason is None:
            log("session-end-asked", reason=reason, why=why)
            self.end_reason = reason
        self.end_asked.set()

    def refuse_early_and_late(self) -> None:
        """Nothing is run before the sandbox was there once, nor while the session ends.

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

    def enter_gate(self) -> None:
        """Begin a request that waits or watches; :meth:`leave_gate` must follow.

        Raises:
            ApiError: 429, there are too many.
        """
        if not self._gate.acquire(blocking=False):
            said = "Too many requests wait or watch. Try again later."
            raise ApiError(429, Reason.QUEUE_FULL, said, retry_after=RETRY_SECONDS)

    def leave_gate(self) -> None:
        """Such a request is over."""
        self._gate.release()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """A block that waits; see :meth:`enter_gate`."""
        self.enter_gate()
        try:
            yield
        finally:
            self.leave_gate()

    def check_id(self, session_id: str | None) -> None:
        """Refuse a request that was meant for another session.

        Raises:
            ApiError: 409.
        """
        if session_id is not None and session_id != self.task.request_id:
            said = f"This is session {self.task.request_id}, not {session_id!a}."
            raise ApiError(409, Reason.WRONG_SESSION, f"{said} Drop cookies of older sessions.")

    def health(self) -> tuple[int, dict[str, Any]]:
        """Status and body of ``GET /health``."""
        body: dict[str, Any] = {
            "session_id": self.task.request_id,
            "executions": self.executions.count,
            "running": self.executions.turns.running,
            "waiting": self.executions.turns.waiting,
            "sandboxRestarts": self.sandbox.restarts,
        }
        reason = self.executions.ending or self.end_reason
        if reason is not None:
            return 503, {"status": "ending", "reason": reason.value, **body}
        if not self.ready:
            return 503, {"status": "initializing", "sync": self._sync(), **body}
        return 200, {"status": "healthy", **body}

    def info(self) -> dict[str, Any]:
        """Body of ``GET /container-info``."""
        return {
            **self.identity,
            "attempt": self.task.attempt,
            "started_at": self.started_at,
            "executions": self.executions.count,
            "running": self.executions.turns.running,
            "work_dir": names.WORKSPACE,
            "data_dir": names.DEFAULT_DATA_PATH,
            "artifacts_dir": f"{names.WORKSPACE}/{self.task.outputs.path}",
            "s3_prefix": self._s3_prefix(),
            "idleTimeoutSeconds": self.rules.idle_timeout_seconds,
            "maxLifetimeSeconds": self.rules.max_lifetime_seconds,
            "ageSeconds": round(self.life.age_seconds, 3),
            "maxExecutions": self.rules.max_executions,
            "executionTimeoutSeconds": self.rules.execution_timeout_seconds,
            "concurrencyPolicy": self.rules.concurrency_policy,
        }

    def report(self) -> wire.SessionReport:
        """What the operator is told."""
        return wire.SessionReport(
            uid=self.task.uid,
            attempt=self.task.attempt,
            ready=self.ready,
            executions=self.executions.count,
            running=self.executions.turns.running,
            last_activity_millis=int(self.life.idle_seconds * 1000),
            restarts=self.sandbox.restarts,
        )

    def _s3_prefix(self) -> str | None:
        if not self.task.bucket:
            return None
        return f"s3://{self.task.bucket}/{names.session_prefix(self.task.request_id)}"

    def _sync(self) -> dict[str, int]:
        """The inputs are there before this process is, so this is always all of them."""
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


def _identity(task: wire.Task) -> dict[str, Any]:
    hostname = socket.gethostname()
    try:
        address = socket.gethostbyname(hostname)  # /etc/hosts of a pod has it
    except OSError as error:
        log("address-unknown", hostname=hostname, error=error)
        address = ""
    return {
        "session_id": task.request_id,
        "container_ip": address,
        "hostname": hostname,
        "namespace": task.namespace,
        "job": task.job,
    }
