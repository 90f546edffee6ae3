"""All executions of a session: accepts them, gives each its turn, runs it, records it.

Each execution has a thread of its own, so that a client that goes away takes nothing with it.
"""

import sys
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.log import log
from nanogrid_executor.result import Verdict
from nanogrid_executor.session import record as rec
from nanogrid_executor.session.errors import ApiError, ending
from nanogrid_executor.session.history import History
from nanogrid_executor.session.journal import Journal
from nanogrid_executor.session.life import Life
from nanogrid_executor.session.port import ExecutionEnd, ExecutionOrder, SandboxPort
from nanogrid_executor.session.run import Run
from nanogrid_executor.session.turns import BusyError, ClosedError, QueueFullError, Ticket, Turns

KEPT_RUNS: Final = 4  # of those that are over: their events can still be replayed as they came
SANDBOX_SECONDS: Final = 300.0  # for a new sandbox container; the kubelet's back-off comes first
LOOK_SECONDS: Final = 0.25
QUEUE_RETRY_SECONDS: Final = 2
INTERRUPT_SECONDS: Final = 2.0
SERIAL: Final = "Serial"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client wants run; ``timeout_seconds`` None is the session's own."""

    code: str
    shell: bool = False
    context: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    stdin: str = ""
    timeout_seconds: float | None = None


class Executions:
    """The executions of one session; safe to use from any thread.

    ``on_change`` is called when one begins or ends.
    """

    def __init__(
        self,
        task: wire.Task,
        rules: wire.SessionRules,
        sandbox: SandboxPort,
        journal: Journal,
        history: History,
        life: Life,
        on_change: Callable[[], None],
    ) -> None:
        self.task = task
        self.rules = rules
        self.sandbox = sandbox
        self.journal = journal
        self.history = history
        self.life = life
        self.turns = Turns(serial=rules.concurrency_policy == SERIAL)
        self.on_change = on_change
        self.ending: Reason | None = None
        self._lock = threading.RLock()
        self._runs: dict[int, Run] = {}
        # The sandbox restarts with the agent: an agent that follows another says so once.
        self._restarts_told = 0 if journal.last == 0 else -1

    @property
    def count(self) -> int:
        """How many were accepted, also by agents before this one."""
        return self.journal.last

    @property
    def busy(self) -> bool:
        """Whether one is waiting, running or being recorded, or files are being synced."""
        with self._lock:
            return self.turns.busy or any(not run.over for run in self._runs.values())

    def find(self, number: int) -> Run | None:
        """An execution that lives, or is over since a short while."""
        with self._lock:
            return self._runs.get(number)

    def accept(
        self, request: Request, key: str | None = None, request_digest: str = ""
    ) -> tuple[int, bool]:
        """Give a request its number and its place in the queue.

        Returns:
            The number, and whether the key had been accepted before.

        Raises:
            ApiError: 409, 422, 429 or 503; nothing was accepted.
        """
        with self._lock:
            if key is not None and (known := self.journal.find(key)):
                if known.digest != request_digest:
                    said = "This Idempotency-Key came with another request. Use a new key."
                    raise ApiError(422, Reason.IDEMPOTENCY_CONFLICT, said)
                return known.number, True
            self._refuse()
            ticket = self.take_turn(lambda: self.journal.accept(key, request_digest))
            assert ticket.number is not None  # noqa: S101 the journal gave it
            run = Run(self._order(ticket.number, request), ticket)
            self._runs[run.number] = run
        name = f"execution-{run.number}"
        threading.Thread(target=self._live, args=(run,), name=name, daemon=True).start()
        return run.number, False

    def take_turn(self, assign: Callable[[], int | None] = lambda: None) -> Ticket:
        """A place in the queue, for an execution or for something that none may run beside.

        Raises:
            ApiError: 409, 429 or 503.
        """
        try:
            return self.turns.take(assign)
        except BusyError as error:
            said = f"Wait: {error}, and session.concurrencyPolicy is Reject."
            more: dict[str, object] = {"execution_num": error.number}
            raise ApiError(409, Reason.EXECUTION_RUNNING, said, more=more) from error
        except QueueFullError as error:
            said = f"{self.turns.limit} requests wait already. Try again later."
            after = QUEUE_RETRY_SECONDS
            raise ApiError(429, Reason.QUEUE_FULL, said, retry_after=after) from error
        except ClosedError as error:
            raise ending(self.ending or Reason.SESSION_ENDED) from error

    def interrupt(self, number: int) -> None:
        """Stop an execution that waits or runs.

        Raises:
            ApiError: 404 there is none of that number, 409 it is over.
        """
        run = self.find(number)
        if run is None and not 1 <= number <= self.count:
            raise not_found(number, self.count)
        if run is None or run.over:
            said = f"Execution {number} is over. GET /executions/{number} shows how it ended."
            raise ApiError(409, Reason.EXECUTION_ENDED, said)
        self._interrupt(run)

    def end(self, reason: Reason) -> None:
        """Accept nothing more, stop what waits and what runs; does not wait for its end."""
        self.ending = reason
        self.turns.close()
        with self._lock:
            runs = [run for run in self._runs.values() if not run.over]
        for run in runs:
            self._interrupt(run)

    def wait_over(self, seconds: float) -> bool:
        """Wait until none lives any more; False when one still does."""
        deadline = time.monotonic() + seconds
        with self._lock:
            runs = list(self._runs.values())
        for run in runs:
            run.wait(max(0.0, deadline - time.monotonic()))
        return all(run.over for run in runs)

    def answer(self, number: int) -> dict[str, Any] | None:
        """The answer of an execution that is over; None when there is none of that number.

        Raises:
            StorageError, DeadlineError: S3 did not say.
        """
        run = self.find(number)
        return run.answer if run is not None else self.history.answer(number)

    def summaries(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Numbers and states, in order."""
        found = []
        for number in range(after + 1, min(self.count, after + limit) + 1):
            run = self.find(number)
            if run is not None and not run.over:
                found.append({"execution_num": number, "status": run.state})
            else:
                found.append(self.history.summary(number))
        return found

    def _refuse(self) -> None:
        if self.ending is not None:
            raise ending(self.ending)
        limit = self.rules.max_executions
        if limit and self.count >= limit:
            said = f"The session had its {limit} executions. Start a new session."
            raise ApiError(503, Reason.EXECUTION_LIMIT, said, more={"status": "ending"})

    def _order(self, number: int, request: Request) -> ExecutionOrder:
        return ExecutionOrder(
            number=number,
            code=request.code,
            context=request.context,
            shell=request.shell,
            env={**self.task.env, **request.env},
            stdin=request.stdin,
            timeout_seconds=request.timeout_seconds or self.rules.execution_timeout_seconds,
            grace_seconds=self.task.termination_grace_seconds,
        )

    def _interrupt(self, run: Run) -> None:
        """Stop it; it may be just about to begin, so the sandbox is asked until it knows it."""
        run.interrupted = True
        if self.turns.cancel(run.ticket):
            return
        deadline = time.monotonic() + INTERRUPT_SECONDS
        while not run.ended and not self.sandbox.interrupt(run.number):
            if time.monotonic() >= deadline:
                return
            time.sleep(0.02)

    def _live(self, run: Run) -> None:
        """The whole life of one execution; always ends with an answer."""
        try:
            self._live_through(run)
        except Exception as error:  # the boundary: who waits must not wait for ever
            traceback.print_exc(file=sys.stdout)
            verdict = Verdict(wire.STATUS_FAILED, Reason.INTERNAL_ERROR, type(error).__name__)
            run.ended = True
            run.observed.clear()
            record = self._record(run, ExecutionEnd(exit_code=None), verdict)
            run.finish(rec.answer(record, recorded=False))
            self.turns.leave(run.ticket)
        self._forget_old()
        self.on_change()

    def _live_through(self, run: Run) -> None:
        with self.life.activity():
            log("execution-accepted", execution=run.number, waiting=self.turns.waiting)
            self.history.note_accepted(run.observed)
            if run.ticket.wait():
                self.on_change()
                end, verdict = self._run(run)
            else:
                end, verdict = ExecutionEnd(exit_code=None), self._not_run()
            run.ended = True
            record = self._record(run, end, verdict)
            self.history.records.keep(record)
            self.turns.leave(run.ticket)
            answer = rec.answer(record, recorded=self.history.records.store(record))
            self.history.add(record, end, answer)
            log(
                "execution-end",
                execution=run.number,
                status=answer["status"],
                reason=answer["reason"],
                ms=answer["durationMillis"],
                recorded=answer["recorded"],
            )
            run.finish(answer)

    def _forget_old(self) -> None:
        with self._lock:
            over = [number for number, run in self._runs.items() if run.over]
            for number in over[:-KEPT_RUNS]:
                del self._runs[number]

    def _run(self, run: Run) -> tuple[ExecutionEnd, Verdict]:
        if not self._await_sandbox(run):
            blank = ExecutionEnd(exit_code=None)
            if run.interrupted:
                return blank, self._not_run()
            detail = f"No launcher came within {SANDBOX_SECONDS:g} s"
            return blank, Verdict(wire.STATUS_FAILED, Reason.SANDBOX_LOST, detail)
        try:
            end = self.sandbox.run(run.order, run)
        except Exception as error:  # the boundary: an execution must have an answer
            traceback.print_exc(file=sys.stdout)
            end = ExecutionEnd(exit_code=None, error=f"{type(error).__name__}: {error}")
        if self.ending is not None and (end.interrupted or end.sandbox_lost):
            detail = f"The session ended ({self.ending.value}) while the code ran"
            return end, Verdict(wire.STATUS_FAILED, Reason.TERMINATED, detail)
        return end, rec.judge(end, run.order)

    def _await_sandbox(self, run: Run) -> bool:
        deadline = time.monotonic() + SANDBOX_SECONDS
        while time.monotonic() < deadline and not run.interrupted:
            if self.sandbox.wait_available(LOOK_SECONDS):
                return not run.interrupted
        return False

    def _not_run(self) -> Verdict:
        if self.ending is not None:
            detail = f"The session ended ({self.ending.value}) before the code ran"
            return Verdict(wire.STATUS_FAILED, Reason.TERMINATED, detail)
        return Verdict(wire.STATUS_FAILED, Reason.EXECUTION_INTERRUPTED, "It had not started")

    def _record(self, run: Run, end: ExecutionEnd, verdict: Verdict) -> dict[str, Any]:
        with self._lock:
            told, self._restarts_told = self._restarts_told, self.sandbox.restarts
            restarted = self._restarts_told != told
        identity = self.history.identity
        return rec.build(
            run.observed, end, verdict, identity, ended=time.time(), sandbox_restarted=restarted
        )


def not_found(number: int, count: int) -> ApiError:
    """404: there is no execution of that number."""
    said = f"There is no execution {number}; the session has had {count}. GET /executions lists"
    return ApiError(404, Reason.EXECUTION_NOT_FOUND, f"{said} them.")
