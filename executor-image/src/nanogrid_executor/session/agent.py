"""The agent of a session: from the start of the pod to the final report.

The sandbox's socket comes first, because the launcher already tries to connect. Then comes the API,
which reports ``initializing`` until the sandbox has connected. At the end, all executions are
stopped before outputs are stored. The report is delivered like that of a batch job.
"""

import os
import signal
import sys
import threading
import traceback
from types import FrameType
from typing import TYPE_CHECKING, Final, NamedTuple

from nanogrid import logs, names, wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent import persist
from nanogrid_executor.agent.egress_proxy import egress_proxy_of
from nanogrid_executor.agent.handover import hand_over, write_termination
from nanogrid_executor.agent.network_gate import NetworkGate
from nanogrid_executor.clock import Deadline, DeadlineError
from nanogrid_executor.log import fields as log_fields
from nanogrid_executor.log import form as log_form
from nanogrid_executor.log import log, warn
from nanogrid_executor.outputs.stored import Stored
from nanogrid_executor.paths import Paths
from nanogrid_executor.session import final_report
from nanogrid_executor.session.final_report import SessionTotals
from nanogrid_executor.session.preparation import prepare
from nanogrid_executor.session.sandbox import LauncherSandbox
from nanogrid_executor.session.sandbox_protocol import SandboxProtocol
from nanogrid_executor.session.session import Session
from nanogrid_executor.storage.errors import StorageError

if TYPE_CHECKING:
    from nanogrid_executor.session.api.server import HttpServer
    from nanogrid_executor.session.api.waiting import WaitingApp

# How long the launcher may take to end an execution after its grace period.
STOP_MARGIN_SECONDS: Final = 3.0
LOST_SECONDS: Final = 2.0  # after the sandbox was closed
POLL_SECONDS: Final = (0.02, 1.0)  # the shortest and the longest
RECORDS_SECONDS: Final = 15.0
READY_POLL_SECONDS: Final = 0.5
JOIN_SECONDS: Final = 60.0
RESPONSES_SECONDS: Final = 3.0


class SessionAgent:
    """One session; :meth:`run` runs it from start to end."""

    def __init__(
        self,
        task: wire.PodTask,
        paths: Paths,
        sandbox: SandboxProtocol,
        port: int,
        warm: "Warm | None" = None,
    ) -> None:
        """Nothing happens before :meth:`run`.

        Args:
            task: the session's.
            paths: of the pod.
            sandbox: it listens for launchers already.
            port: of the API.
            warm: what the pod has started before the session; None: it was created for it.
        """
        self.task, self.paths = task, paths
        self.sandbox, self.port = sandbox, port
        self.warm = warm
        url = os.environ.get(names.ENV_RESULTS_URL, "")
        self.session = Session(task, paths, sandbox, url)
        self.gate = NetworkGate(url, task.gate_port) if warm is None else warm.gate
        self.upload: Deadline | None = None
        self.stopping = False
        self.stop_requested = threading.Event()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM: the pod is being deleted; stop and report within the grace period."""
        self.stopping = True
        self.stop_requested.set()
        if self.session.end_reason is None:
            self.session.end_reason = Reason.TERMINATED
        self.session.end_requested.set()
        if self.upload is not None:
            self.upload.shorten(names.STOP_UPLOAD_SECONDS)

    def run(self) -> None:
        """Serve until there is a reason to end, then deliver the report."""
        progress = None if self.warm is None else self.warm.app.progress
        failed = prepare(self.session, self.stop_requested.is_set, progress)
        if failed is not None:
            self.sandbox.close()
            hand_over(self.task, self.paths, failed)
            return
        server = self._serve()
        threading.Thread(target=self._become_ready_or_exit, name="ready", daemon=True).start()
        self.session.reporter.start()
        reason = self._wait_for_end()
        report = self._end(reason)
        hand_over(self.task, self.paths, report)
        self._drain()
        # Responses in progress are sent; a request that hangs does not delay the end.
        stopping = threading.Thread(target=server.stop, name="http-stop", daemon=True)
        stopping.start()
        stopping.join(RESPONSES_SECONDS)

    def _serve(self) -> "HttpServer":
        # Late: the launcher can connect while these imports run.
        from nanogrid_executor.session.api.app import create_app
        from nanogrid_executor.session.api.auth import Auth
        from nanogrid_executor.session.api.server import start_server

        warm, token_file = self.warm, self.paths.real(names.SESSION_TOKEN_FILE)
        app = create_app(self.session, Auth(token_file, None if warm is None else warm.token))
        if warm is None:
            server = start_server(app, self.port)
        else:
            server = warm.server
            server.serve_app(app)
        log("session-listening", port=self.port, resumed=self.session.resumed)
        return server

    def _become_ready_or_exit(self) -> None:
        try:
            self._become_ready()
        except Exception:  # the boundary: the kubelet restarts the container, the volume stays
            traceback.print_exc(file=sys.stdout)
            sys.stdout.flush()
            os._exit(1)

    def _become_ready(self) -> None:
        """Find the last number that was given, and wait for the network and the sandbox."""
        session = self.session
        last = 0
        if not session.resumed:
            try:
                last = session.history.records.last_in_s3()
            except (StorageError, DeadlineError) as error:
                warn("records-not-listed", error=error)
        # The API takes no execution before the numbering has begun.
        if unsafe := self.gate.wait(session.end_requested.is_set):
            session.request_end(Reason.NETWORK_NOT_ENFORCED, unsafe)
            return
        if (proxy := egress_proxy_of(self.task)) is not None:
            proxy.wait(session.end_requested.is_set)
        session.begin_numbering(last)
        session.history.record_lost()
        session.history.records.start()
        while not self.sandbox.wait_available(READY_POLL_SECONDS):
            if session.end_requested.is_set():
                return
        session.timeouts.touch()  # the session could not be used before
        log("session-ready", executions=session.executions.count)
        session.reporter.changed()

    def _wait_for_end(self) -> Reason:
        """Wait for a reason to end."""
        session, executions, timeouts = self.session, self.session.executions, self.session.timeouts
        ready = False
        while not session.end_requested.is_set():
            if session.ready != ready:
                ready = not ready
                session.reporter.changed()
            session.watch_memory()
            if ready or executions.count:
                reason = timeouts.reason_to_end(executions.count, busy=executions.busy)
            else:  # waiting for the sandbox is not idling; the operator has a timeout for it
                reason = None
            if reason is not None:
                session.request_end(reason)
                break
            shortest, longest = POLL_SECONDS
            session.end_requested.wait(min(longest, max(shortest, timeouts.seconds_left())))
        return session.end_reason or Reason.SESSION_ENDED

    def _end(self, reason: Reason) -> wire.Report:
        """Stop all executions, then store outputs and records."""
        session = self.session
        log("session-ending", reason=reason, executions=session.executions.count)
        session.reporter.stop()
        session.executions.end(reason)
        grace = self.task.termination_grace_seconds + STOP_MARGIN_SECONDS
        in_time = session.executions.wait_done(grace)
        self.sandbox.close()
        if not in_time and not session.executions.wait_done(LOST_SECONDS):
            warn("execution-did-not-end", execution=session.queue.running)
        self.upload = Deadline(self.task.upload_timeout_seconds)
        if self.stopping:
            self.upload.shorten(names.STOP_UPLOAD_SECONDS)
        # If this process is killed before it reports, the kubelet still has this early report.
        cut_off = Stored(failed=["the agent ended while it stored them"])
        write_termination(self.paths, self._report(reason, cut_off, 0))
        stored, _ = persist.store_outputs(self.task, self.paths, self.upload, succeeded=True)
        seconds = min(RECORDS_SECONDS, self.upload.remaining())
        unrecorded = session.history.records.flush(Deadline(seconds))
        return self._report(reason, stored, unrecorded)

    def _drain(self) -> None:
        """Answer until the load balancers in front have deregistered the pod.

        The report has made the operator deregister it. Before SIGTERM the kubelet waits as long.
        """
        rules = self.task.session
        if rules is not None and rules.drain_seconds > 0 and not self.stopping:
            log("session-draining", seconds=rules.drain_seconds)
            self.stop_requested.wait(rules.drain_seconds)

    def _report(self, reason: Reason, stored: Stored, unrecorded: int) -> wire.Report:
        session, history = self.session, self.session.history
        totals = SessionTotals(
            last=history.last_answer,
            executions=session.executions.count,
            unrecorded=unrecorded,
            seconds=session.timeouts.age_seconds,
            cpu_millis=history.cpu_millis if history.last_answer else None,
            peak_memory_bytes=history.peak_memory_bytes,
        )
        report = final_report.build(self.task, reason, stored, session.inputs, totals)
        log("session-end", status=report.result.status, reason=report.result.reason)
        return report


class Warm(NamedTuple):
    """What a pool's pod has started before its session, and the token of the session."""

    gate: NetworkGate
    server: "HttpServer"
    app: "WaitingApp"
    token: str


def run(task: wire.PodTask, paths: Paths, port: int) -> None:
    """Entry point of a session's agent container; returns after the report is delivered."""
    sandbox = LauncherSandbox(paths.socket, paths.workspace)
    sandbox.start()
    agent = SessionAgent(task, paths, sandbox, port)
    agent.gate.start()
    run_in_thread(agent)


def run_in_thread(agent: SessionAgent) -> None:
    """Run a session; returns after the report is delivered.

    The session runs in its own thread. The main thread runs the signal handlers and never holds a
    lock, so a handler may take any lock.

    Raises:
        BaseException: what ended the session's thread; the kubelet restarts the container.
    """
    # Its libraries import logging anyway.
    logs.configure(*log_form(), stream=sys.stdout, fields=log_fields())
    signal.signal(signal.SIGTERM, agent.stop)
    failures: list[BaseException] = []

    def run_agent() -> None:
        try:
            agent.run()
        except BaseException as error:  # raised again in the main thread, where it ends the process
            failures.append(error)

    thread = threading.Thread(target=run_agent, name="session", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(JOIN_SECONDS)
    if failures:
        raise failures[0]
