"""Executions that are over: their lines, records and answers; and those that were lost."""

import time
from collections import OrderedDict
from typing import Any, Final

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.log import log
from nanogrid_executor.result import Verdict
from nanogrid_executor.session import record as rec
from nanogrid_executor.session.port import ExecutionEnd, ExecutionOrder
from nanogrid_executor.session.records import Records

KEPT_SUMMARIES: Final = 10_000
CODE_BYTES: Final = 16 * 1024  # of the code of an execution that is lost with its agent


class History:
    """What is known of executions that are over."""

    def __init__(self, records: Records, identity: dict[str, Any]) -> None:
        self.records = records
        self.identity = identity
        self.last_answer: dict[str, Any] | None = None
        self.cpu_millis = 0
        self.peak_memory_bytes: int | None = None
        self._summaries: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def note_accepted(self, observed: rec.Observed) -> None:
        """Leave word of what is about to run, for the agent that comes after this one."""
        order = observed.order
        note = {
            "execution_num": order.number,
            "code": order.code.encode()[:CODE_BYTES].decode(errors="ignore"),
            "context": order.context,
            "shell": order.shell,
            "timeoutSeconds": order.timeout_seconds,
            "accepted": observed.accepted,
        }
        try:
            self.records.spool.note(order.number, note)
        except OSError as error:
            log("acceptance-not-noted", execution=order.number, error=error)

    def add(self, record: dict[str, Any], end: ExecutionEnd, answer: dict[str, Any]) -> None:
        """One more is over."""
        self.last_answer = answer
        self.cpu_millis += end.cpu_millis or 0
        if end.peak_memory_bytes is not None:
            self.peak_memory_bytes = max(self.peak_memory_bytes or 0, end.peak_memory_bytes)
        self._summaries[record["execution_num"]] = rec.summary(record)
        if len(self._summaries) > KEPT_SUMMARIES:
            self._summaries.popitem(last=False)

    def summary(self, number: int) -> dict[str, Any]:
        """One line; after a restart of the agent only what its volume still has."""
        found = self._summaries.get(number)
        if found is None:
            record = self.records.spool.get(number)
            found = rec.summary(record) if record else {"execution_num": number, "status": None}
        return found

    def answer(self, number: int) -> dict[str, Any] | None:
        """The answer that was given, made again from the record; None without a record.

        Raises:
            StorageError, DeadlineError: S3 did not say.
        """
        record = self.records.load(number)
        if record is None:
            return None
        return rec.answer(record, recorded=self.records.recorded(number))

    def adopt(self) -> None:
        """Record what was accepted by an agent that is no more, and is not over."""
        for note in self.records.spool.notes():
            log("execution-lost", execution=note["execution_num"])
            order = ExecutionOrder(
                number=note["execution_num"],
                code=note["code"],
                context=note["context"],
                shell=note["shell"],
                timeout_seconds=note["timeoutSeconds"],
                grace_seconds=0.0,
            )
            detail = "The agent was restarted before the execution was over"
            record = rec.build(
                rec.Observed(order, note["accepted"]),
                ExecutionEnd(exit_code=None),
                Verdict(wire.STATUS_FAILED, Reason.AGENT_FAILED, detail),
                self.identity,
                ended=time.time(),
                sandbox_restarted=True,
            )
            self.records.keep(record)
