"""All executions of a session: accepts them, interrupts them, and finds their answers.

Each execution has its own thread, so it continues when its client disconnects.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from nanogrid import source_encoding, wire
from nanogrid.reasons import Reason
from nanogrid_executor.launcher.session_frames import MAX_CONTEXTS
from nanogrid_executor.session.errors import ApiError, ending
from nanogrid_executor.session.execution import AcceptedExecution
from nanogrid_executor.session.execution_queue import (
    BusyError,
    ClosedError,
    QueueEntry,
    QueueFullError,
)
from nanogrid_executor.session.execution_runner import ExecutionRunner
from nanogrid_executor.session.journal import Journal
from nanogrid_executor.session.sandbox_protocol import ExecutionSpec

KEPT_EXECUTIONS: Final = 4  # of the ended ones: their events can be replayed exactly
QUEUE_RETRY_SECONDS: Final = 2
INTERRUPT_SECONDS: Final = 2.0
INTERRUPT_INTERVAL: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ExecuteRequest:
    """A client's request to run code; ``timeout_seconds`` None means the session's own."""

    code: str
    encoding: str = source_encoding.UTF8
    shell: bool = False
    context: str | None = None
    env: dict[str, str] = field(default_factory=dict)
    stdin: str = ""
    keep_processes: bool = False
    timeout_seconds: float | None = None


class Executions:
    """The executions of one session; thread-safe."""

    def __init__(
        self,
        task: wire.PodTask,
        rules: wire.SessionRules,
        journal: Journal,
        runner: ExecutionRunner,
    ) -> None:
        """Nothing is accepted yet.

        Args:
            task: the session's.
            rules: its limits.
            journal: gives the numbers.
            runner: runs each accepted execution.
        """
        self.task, self.rules = task, rules
        self.journal, self.runner = journal, runner
        self.sandbox, self.queue, self.history = runner.sandbox, runner.queue, runner.history
        self._lock = threading.RLock()
        self._accepted: dict[int, AcceptedExecution] = {}

    @property
    def count(self) -> int:
        """How many were accepted, also by earlier agents of the session."""
        return self.journal.last

    @property
    def ending(self) -> Reason | None:
        """Why the session is ending; None while it accepts executions."""
        return self.queue.closed

    @property
    def busy(self) -> bool:
        """Whether an execution waits, runs or is being recorded, or a file sync runs."""
        with self._lock:
            return self.queue.busy or any(not each.done for each in self._accepted.values())

    def find(self, number: int) -> AcceptedExecution | None:
        """An execution that has not ended, or has ended recently."""
        with self._lock:
            return self._accepted.get(number)

    def accept(
        self, request: ExecuteRequest, key: str | None = None, request_digest: str = ""
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
                    message = "This Idempotency-Key came with a different request. Use a new key."
                    raise ApiError(422, Reason.IDEMPOTENCY_CONFLICT, message)
                return known.number, True
            self._check_limits()
            self._check_context(request.context)
            entry = self.enter_queue(lambda: self.journal.accept(key, request_digest))
            assert entry.number is not None  # noqa: S101 the journal gave it
            execution = AcceptedExecution(self._spec(entry.number, request), entry)
            self._accepted[execution.number] = execution
        name = f"execution-{execution.number}"
        threading.Thread(target=self._run, args=(execution,), name=name, daemon=True).start()
        return execution.number, False

    def enter_queue(self, assign: Callable[[], int] | None = None) -> QueueEntry:
        """A place in the queue, for an execution or for work that excludes executions.

        Raises:
            ApiError: 409, 429 or 503.
        """
        try:
            return self.queue.enter(assign)
        except BusyError as error:
            message = f"Wait: {error}, and session.concurrencyPolicy is Reject."
            more: dict[str, object] = {"execution_num": error.number}
            raise ApiError(409, Reason.EXECUTION_RUNNING, message, more=more) from error
        except QueueFullError as error:
            message = f"{self.queue.limit} requests are waiting already. Try again later."
            after = QUEUE_RETRY_SECONDS
            raise ApiError(429, Reason.QUEUE_FULL, message, retry_after=after) from error
        except ClosedError as error:
            raise ending(error.reason) from error

    def interrupt(self, number: int) -> None:
        """Stop an execution that waits or runs.

        Raises:
            ApiError: 404 it does not exist, 409 it has ended.
        """
        execution = self.find(number)
        if execution is None and not 1 <= number <= self.count:
            raise not_found(number, self.count)
        if execution is None or execution.done:
            message = f"Execution {number} has ended. GET /executions/{number} shows its result."
            raise ApiError(409, Reason.EXECUTION_ENDED, message)
        self._interrupt(execution)

    def end(self, reason: Reason) -> None:
        """Accept no more executions and stop all others; does not wait for their end."""
        self.queue.close(reason)
        with self._lock:
            unfinished = [each for each in self._accepted.values() if not each.done]
        for execution in unfinished:
            self._interrupt(execution)

    def wait_done(self, seconds: float) -> bool:
        """Wait until all executions have their answers; False when one has none in time."""
        deadline = time.monotonic() + seconds
        with self._lock:
            accepted = list(self._accepted.values())
        for execution in accepted:
            execution.wait(max(0.0, deadline - time.monotonic()))
        return all(execution.done for execution in accepted)

    def answer(self, number: int) -> dict[str, Any] | None:
        """The answer of an ended execution; None when there is none of that number.

        Raises:
            StorageError, DeadlineError: S3 could not be read.
        """
        execution = self.find(number)
        return execution.answer if execution is not None else self.history.answer(number)

    def summaries(self, after: int, limit: int) -> list[dict[str, Any]]:
        """Numbers and states, in order."""
        found = []
        for number in range(after + 1, min(self.count, after + limit) + 1):
            execution = self.find(number)
            if execution is not None and not execution.done:
                found.append({"execution_num": number, "status": execution.state})
            else:
                found.append(self.history.summary(number))
        return found

    def _check_limits(self) -> None:
        if self.ending is not None:
            raise ending(self.ending)
        limit = self.rules.max_executions
        if limit and self.count >= limit:
            message = f"The session has had its {limit} executions. Start a new session."
            raise ApiError(503, Reason.EXECUTION_LIMIT, message, more={"status": "ending"})

    def _check_context(self, name: str | None) -> None:
        """Refuse what would be one context too many now; the launcher checks it again."""
        contexts = sorted(each.name for each in self.sandbox.contexts()) if name else []
        if len(contexts) >= MAX_CONTEXTS and name not in contexts:
            message = (
                f"The session has {MAX_CONTEXTS} contexts, the maximum: {', '.join(contexts)}. "
                "Use one of them, or delete one with DELETE /contexts/NAME."
            )
            raise ApiError(409, Reason.CONTEXT_LIMIT, message)

    def _spec(self, number: int, request: ExecuteRequest) -> ExecutionSpec:
        return ExecutionSpec(
            number=number,
            code=request.code,
            encoding=request.encoding,
            context=request.context,
            shell=request.shell,
            env={**self.task.env, **request.env},
            stdin=request.stdin,
            keep_processes=request.keep_processes,
            timeout_seconds=request.timeout_seconds or self.rules.execution_timeout_seconds,
            grace_seconds=self.task.termination_grace_seconds,
        )

    def _interrupt(self, execution: AcceptedExecution) -> None:
        """Stop it. It may be about to start, so ask the sandbox until it knows the execution."""
        execution.interrupted = True
        if self.queue.cancel(execution.entry):
            return
        deadline = time.monotonic() + INTERRUPT_SECONDS
        while not execution.ended and not self.sandbox.interrupt(execution.number):
            if time.monotonic() >= deadline:
                return
            time.sleep(INTERRUPT_INTERVAL)

    def _run(self, execution: AcceptedExecution) -> None:
        self.runner.run(execution)
        self._forget_old()

    def _forget_old(self) -> None:
        with self._lock:
            done = [number for number, execution in self._accepted.items() if execution.done]
            for number in done[:-KEPT_EXECUTIONS]:
                del self._accepted[number]


def not_found(number: int, count: int) -> ApiError:
    """404: no execution has that number."""
    message = (
        f"Execution {number} does not exist; the session has had {count}. "
        "GET /executions lists them."
    )
    return ApiError(404, Reason.EXECUTION_NOT_FOUND, message)
