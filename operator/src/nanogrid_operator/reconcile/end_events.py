"""What a job's end looks like in the log and in its Events."""

import logging

from nanogrid.logs import FIELDS
from nanogrid.reasons import Reason, sentence
from nanogrid_operator.decision.outcome import Delivery, Outcome, Storage
from nanogrid_operator.model.facts import Job
from nanogrid_operator.status.writer import Writer

log = logging.getLogger("nanogrid.reconcile")


def record_end(
    writer: Writer, job: Job, ended: Outcome, delivery: Delivery, storage: Storage | None
) -> None:
    """One line in the log, an Event of a failure, and one of each problem with the result."""
    if ended.succeeded:
        writer.record(ended.reason, ended.message)
    else:
        writer.record_event(job, ended.reason, ended.message, bad=True)
    end = {
        "status": ended.result.status,
        "reason": ended.reason,
        "exitCode": ended.result.exit_code,
        "delivery": delivery.state,
        "receivers": delivery.receivers,
    }
    log.info("the job has ended", extra={FIELDS: end})
    if note := ended.result.outputs_note:
        writer.record_event(job, Reason.OUTPUTS_NOT_MATCHED, note, bad=True)
    if delivery.replaced:
        text = sentence(Reason.RESULT_NOT_AUTHENTIC, delivery.replaced)
        writer.record_event(job, Reason.RESULT_NOT_AUTHENTIC, text, bad=True)
    if storage is not None and storage.pending:
        writer.record_event(job, storage.reason, storage.message, bad=True)
    if delivery.state == "Pending":
        reason = delivery.reason or Reason.REDIS_UNAVAILABLE
        writer.record_event(job, reason, delivery.message, bad=True)
