"""Runs one accepted execution: waits for its turn, runs it in the sandbox, records it."""

import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Any, Final

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent.result import Verdict
from nanogrid_executor.log import log
from nanogrid_executor.session.execution import AcceptedExecution
from nanogrid_executor.session.execution_queue import ExecutionQueue
from nanogrid_executor.session.history import History
from nanogrid_executor.session.record import answer_from, build_record, verdict_of
from nanogrid_executor.session.sandbox_protocol import ExecutionEnd, SandboxProtocol
from nanogrid_executor.session.timeouts import SessionTimeouts

SANDBOX_SECONDS: Final = 300.0  # for a new sandbox container, including the kubelet's back-off
POLL_SECONDS: Final = 0.25


class ExecutionRunner:
    """Runs the executions of one session; thread-safe."""

    def __init__(
        self,
        sandbox: SandboxProtocol,
        queue: ExecutionQueue,
        history: History,
        timeouts: SessionTimeouts,
        on_change: Callable[[], None],
        *,
        resumed: bool,
    ) -> None:
        """Nothing runs yet.

        Args:
            sandbox: runs the code.
            queue: says whose turn it is.
            history: keeps the records.
            timeouts: each execution is an activity.
            on_change: called when an execution starts or ends.
            resumed: whether an earlier agent accepted executions. The sandbox restarts with the
                agent, so the first answer of a resumed session says so.
        """
        self.sandbox, self.queue, self.history = sandbox, queue, history
        self.timeouts = timeouts
        self.on_change = on_change
        self._lock = threading.Lock()
        self._reported_restarts = -1 if resumed else 0

    def run(self, execution: AcceptedExecution) -> None:
        """Run an execution from the queue to its answer; always ends with an answer."""
        try:
            self._run_and_record(execution)
        except Exception as error:  # the boundary: clients must not wait for ever
            traceback.print_exc(file=sys.stdout)
            verdict = Verdict(wire.STATUS_FAILED, Reason.INTERNAL_ERROR, type(error).__name__)
            execution.ended = True
            execution.observation.clear()
            record = self._record(execution, ExecutionEnd(exit_code=None), verdict)
            execution.finish(answer_from(record, recorded=False))
            self.queue.leave(execution.entry)
        self.on_change()

    def _run_and_record(self, execution: AcceptedExecution) -> None:
        with self.timeouts.activity():
            log("execution-accepted", execution=execution.number, waiting=self.queue.waiting)
            self.history.note_accepted(execution.observation)
            if execution.entry.wait():
                self.on_change()
                end, verdict = self._run_in_sandbox(execution)
            else:
                end, verdict = ExecutionEnd(exit_code=None), self._not_run()
            execution.ended = True
            record = self._record(execution, end, verdict)
            self.history.records.keep(record)
            self.queue.leave(execution.entry)
            answer = answer_from(record, recorded=self.history.records.store(record))
            self.history.add(record, end, answer)
            log(
                "execution-end",
                execution=execution.number,
                status=answer["status"],
                reason=answer["reason"],
                ms=answer["durationMillis"],
                recorded=answer["recorded"],
            )
            execution.finish(answer)

    def _run_in_sandbox(self, execution: AcceptedExecution) -> tuple[ExecutionEnd, Verdict]:
        if not self._wait_for_sandbox(execution):
            blank = ExecutionEnd(exit_code=None)
            if execution.interrupted:
                return blank, self._not_run()
            detail = f"No launcher connected within {SANDBOX_SECONDS:g} s"
            return blank, Verdict(wire.STATUS_FAILED, Reason.SANDBOX_LOST, detail)
        try:
            end = self.sandbox.run(execution.spec, execution)
        except Exception as error:  # the boundary: an execution must have an answer
            traceback.print_exc(file=sys.stdout)
            detail = f"{type(error).__name__}: {error}"
            verdict = Verdict(wire.STATUS_FAILED, Reason.INTERNAL_ERROR, detail)
            return ExecutionEnd(exit_code=None), verdict
        ending = self.queue.closed
        if ending is not None and (end.interrupted or end.sandbox_lost):
            detail = f"The session ended ({ending.value}) while the code ran"
            return end, Verdict(wire.STATUS_FAILED, Reason.TERMINATED, detail)
        return end, verdict_of(end, execution.spec)

    def _wait_for_sandbox(self, execution: AcceptedExecution) -> bool:
        deadline = time.monotonic() + SANDBOX_SECONDS
        while time.monotonic() < deadline and not execution.interrupted:
            if self.sandbox.wait_available(POLL_SECONDS):
                return not execution.interrupted
        return False

    def _not_run(self) -> Verdict:
        ending = self.queue.closed
        if ending is not None:
            detail = f"The session ended ({ending.value}) before the code ran"
            return Verdict(wire.STATUS_FAILED, Reason.TERMINATED, detail)
        return Verdict(wire.STATUS_FAILED, Reason.EXECUTION_INTERRUPTED, "It had not started")

    def _record(
        self, execution: AcceptedExecution, end: ExecutionEnd, verdict: Verdict
    ) -> dict[str, Any]:
        with self._lock:
            before, self._reported_restarts = self._reported_restarts, self.sandbox.restarts
            restarted = self._reported_restarts != before
        return build_record(
            execution.observation,
            end,
            verdict,
            self.history.identity,
            ended=time.time(),
            sandbox_restarted=restarted,
        )
