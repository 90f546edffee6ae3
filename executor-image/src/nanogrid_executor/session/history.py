"""The ended executions: their summaries, records and answers; and those lost with their agent."""

import time
from collections import OrderedDict
from typing import Any, Final

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid_executor.agent.result import Verdict
from nanogrid_executor.log import warn
from nanogrid_executor.session.record import Observation, answer_from, build_record, summary_of
from nanogrid_executor.session.records import Records
from nanogrid_executor.session.sandbox_protocol import ExecutionEnd, ExecutionSpec

KEPT_SUMMARIES: Final = 10_000
CODE_BYTES: Final = 16 * 1024  # of the code of an execution that is lost with its agent


class History:
    """The ended executions of one session."""

    def __init__(self, records: Records, identity: dict[str, Any]) -> None:
        self.records = records
        self.identity = identity
        self.last_answer: dict[str, Any] | None = None
        self.cpu_millis = 0
        self.peak_memory_bytes: int | None = None
        self._summaries: OrderedDict[int, dict[str, Any]] = OrderedDict()

    def note_accepted(self, observation: Observation) -> None:
        """Write a note about an accepted execution, for the agent after this one."""
        spec = observation.spec
        note = {
            "execution_num": spec.number,
            "code": spec.code.encode()[:CODE_BYTES].decode(errors="ignore"),
            "context": spec.context,
            "shell": spec.shell,
            "timeoutSeconds": spec.timeout_seconds,
            "accepted": observation.accepted,
        }
        try:
            self.records.spool.write_note(spec.number, note)
        except OSError as error:
            warn("acceptance-not-noted", execution=spec.number, error=error)

    def add(self, record: dict[str, Any], end: ExecutionEnd, answer: dict[str, Any]) -> None:
        """Add an ended execution."""
        self.last_answer = answer
        self.cpu_millis += end.cpu_millis or 0
        if end.peak_memory_bytes is not None:
            self.peak_memory_bytes = max(self.peak_memory_bytes or 0, end.peak_memory_bytes)
        self._summaries[record["execution_num"]] = summary_of(record)
        if len(self._summaries) > KEPT_SUMMARIES:
            self._summaries.popitem(last=False)

    def summary(self, number: int) -> dict[str, Any]:
        """One summary; after a restart of the agent only of records that its volume still has."""
        found = self._summaries.get(number)
        if found is None:
            record = self.records.spool.get(number)
            found = summary_of(record) if record else {"execution_num": number, "status": None}
        return found

    def answer(self, number: int) -> dict[str, Any] | None:
        """The answer that was given, made again from the record; None without a record.

        Raises:
            StorageError, DeadlineError: S3 could not be read.
        """
        record = self.records.load(number)
        if record is None:
            return None
        return answer_from(record, recorded=self.records.recorded(number))

    def record_lost(self) -> None:
        """Record the executions that an earlier agent accepted and did not finish, as failed."""
        for note in self.records.spool.notes():
            warn("execution-lost", execution=note["execution_num"])
            spec = ExecutionSpec(
                number=note["execution_num"],
                code=note["code"],
                context=note["context"],
                shell=note["shell"],
                timeout_seconds=note["timeoutSeconds"],
                grace_seconds=0.0,
            )
            detail = "The agent was restarted before the execution ended"
            record = build_record(
                Observation(spec, note["accepted"]),
                ExecutionEnd(exit_code=None),
                Verdict(wire.STATUS_FAILED, Reason.AGENT_FAILED, detail),
                self.identity,
                ended=time.time(),
                sandbox_restarted=True,
            )
            self.records.keep(record)
