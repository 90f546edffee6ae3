"""The agent of a session: its life from the first container to the final report.

The sandbox's socket comes first, because the launcher is already looking for it; then the API,
which says ``initializing`` until the sandbox is there. At the end everything is stopped before
anything is stored, and the report is handed over as a batch job's is.
"""

import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import TYPE_CHECKING, Final

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_executor import keeper
from nanogrid_executor import result as results
from nanogrid_executor.agent import fill_workspace, hand_over, read_inputs
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.log import log
from nanogrid_executor.paths import Paths
from nanogrid_executor.s3_errors import StorageError
from nanogrid_executor.session import final
from nanogrid_executor.session.auth import Auth
from nanogrid_executor.session.core import Session
from nanogrid_executor.session.port import SandboxPort
from nanogrid_executor.session.sandbox import LauncherSandbox

if TYPE_CHECKING:
    from cheroot.wsgi import Server

# How long the launcher may take to end an execution beyond the grace that it gives it.
STOP_ROOM_SECONDS: Final = 3.0
LOST_SECONDS: Final = 2.0  # after the sandbox was closed
LONGEST_LOOK_SECONDS: Final = 1.0
RECORDS_SECONDS: Final = 15.0
READY_LOOK_SECONDS: Final = 0.5
JOIN_SECONDS: Final = 60.0
ANSWERS_SECONDS: Final = 3.0


class SessionAgent:
    """One session; :meth:`run` is its whole life."""

    def __init__(self, task: wire.Task, paths: Paths, sandbox: SandboxPort, port: int) -> None:
        self.task = task
        self.paths = paths
        self.sandbox = sandbox
        self.port = port
        self.session = Session(task, paths, sandbox, os.environ.get(names.ENV_RESULTS_URL, ""))
        self.upload: Deadline | None = None
        self.stopping = False

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: the pod is being deleted; stop and report within the grace."""
        self.stopping = True
        if self.session.end_reason is None:
            self.session.end_reason = Reason.TERMINATED
        self.session.end_asked.set()
        if self.upload is not None:
            self.upload.shorten(names.STOP_UPLOAD_SECONDS)

    def run(self) -> None:
        """Serve until there is a reason to end; hand over the report."""
        problem = self._prepare()
        if problem:
            self.sandbox.close()
            report = results.not_run(self.task, Reason.SYNC_FAILED, problem)
            hand_over(self.task, self.paths, report)
            return
        server = self._serve()
        threading.Thread(target=self._prepare_numbers, name="ready", daemon=True).start()
        self.session.reporter.start()
        reason = self._live()
        report = self._end(reason)
        hand_over(self.task, self.paths, report)
        # Answers that are on their way get there; a request that hangs does not hold us up.
        stopping = threading.Thread(target=server.stop, name="http-stop", daemon=True)
        stopping.start()
        stopping.join(ANSWERS_SECONDS)

    def _prepare(self) -> str:
        """Inputs, code and folders; what is wrong, or nothing."""
        session = self.session
        session.inputs, problem = read_inputs(self.task, self.paths)
        if problem or session.resumed:  # code of a session that goes on may have been changed
            return problem
        for folder in (names.DEFAULT_DATA_PATH, f"{names.WORKSPACE}/{self.task.outputs.path}"):
            try:
                os.makedirs(self.paths.real(folder), exist_ok=True)
            except OSError as error:
                return f"The workspace cannot be prepared: {error}"
        return fill_workspace(self.task, self.paths)

    def _serve(self) -> "Server":
        # Late: the launcher can connect while these take their time.
        from nanogrid_executor.session.app import create_app
        from nanogrid_executor.session.server import make_server

        app = create_app(self.session, Auth(self.paths.real(names.SESSION_TOKEN_FILE)))
        server = make_server(app, self.port)
        server.prepare()
        threading.Thread(target=server.serve, name="http", daemon=True).start()
        log("session-listening", port=self.port, resumed=self.session.resumed)
        return server

    def _prepare_numbers(self) -> None:
        try:
            self._become_ready()
        except Exception:  # the boundary: the kubelet starts us anew, the pod's volume stays
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            os._exit(1)

    def _become_ready(self) -> None:
        """Find out which numbers were given before, and wait for the sandbox."""
        session = self.session
        last = 0
        if not session.resumed:
            try:
                last = session.history.records.last_in_s3()
            except (StorageError, DeadlineError) as error:
                log("records-not-listed", error=error)
        session.number_from(last)
        session.history.adopt()
        session.history.records.start()
        while not self.sandbox.wait_available(READY_LOOK_SECONDS):
            if session.end_asked.is_set():
                return
        session.life.touch()  # nobody could use the session before
        log("session-ready", executions=session.executions.count)
        session.reporter.changed()

    def _live(self) -> Reason:
        """Wait for a reason to end."""
        session, executions = self.session, self.session.executions
        ready = False
        while not session.end_asked.is_set():
            if session.ready != ready:
                ready = not ready
                session.reporter.changed()
            if ready or executions.count:
                due = session.life.due(executions.count, busy=executions.busy)
            else:  # waiting for the sandbox is not idling; the operator has a timeout for it
                due = None
            if due is not None:
                session.ask_end(due)
                break
            wait = min(LONGEST_LOOK_SECONDS, max(0.02, session.life.next_seconds()))
            session.end_asked.wait(wait)
        return session.end_reason or Reason.SESSION_ENDED

    def _end(self, reason: Reason) -> wire.Report:
        """Stop everything, then store what it left."""
        session = self.session
        log("session-ending", reason=reason, executions=session.executions.count)
        session.reporter.stop()
        session.executions.end(reason)
        grace = self.task.termination_grace_seconds + STOP_ROOM_SECONDS
        in_time = session.executions.wait_over(grace)
        self.sandbox.close()
        if not in_time and not session.executions.wait_over(LOST_SECONDS):
            log("execution-did-not-end", execution=session.executions.turns.running)
        self.upload = Deadline(self.task.upload_timeout_seconds)
        if self.stopping:
            self.upload.shorten(names.STOP_UPLOAD_SECONDS)
        # Should this process not live to report, the kubelet still has the end of the session.
        cut_off = results.Stored(failed=["the agent ended while it stored them"])
        early = results.to_termination(self._report(reason, cut_off, 0))
        self.paths.write_termination(early)
        stored, _ = keeper.store_outputs(
            self.task, self.paths.workspace, self.upload, succeeded=True
        )
        seconds = min(RECORDS_SECONDS, self.upload.remaining())
        unrecorded = session.history.records.flush(Deadline(seconds))
        return self._report(reason, stored, unrecorded)

    def _report(self, reason: Reason, stored: results.Stored, unrecorded: int) -> wire.Report:
        session, history = self.session, self.session.history
        last = history.last_answer
        report = final.build(
            self.task,
            reason,
            stored,
            session.inputs,
            last=last,
            executions=session.executions.count,
            unrecorded=unrecorded,
            seconds=session.life.age_seconds,
            cpu_millis=history.cpu_millis if last else None,
            peak_memory_bytes=history.peak_memory_bytes,
            memory_source=last["memorySource"] if last else None,
        )
        log("session-end", status=report.result.status, reason=report.result.reason)
        return report


def run(task: wire.Task, paths: Paths, port: int) -> None:
    """Entry point of a session's agent container; returns when the report is handed over.

    The session lives in a thread of its own: a signal's handler may then take any lock, for the
    main thread, which runs it, never holds one.

    Raises:
        BaseException: what ended the session's thread; the kubelet starts the container anew.
    """
    sandbox = LauncherSandbox(paths.socket, paths.workspace)
    sandbox.start()
    agent = SessionAgent(task, paths, sandbox, port)
    signal.signal(signal.SIGTERM, agent.stop)
    failures: list[BaseException] = []

    def live() -> None:
        try:
            agent.run()
        except BaseException as error:  # raised again where it ends the process
            failures.append(error)

    thread = threading.Thread(target=live, name="session", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(JOIN_SECONDS)
    if failures:
        raise failures[0]
