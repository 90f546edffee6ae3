"""The conditions in a job's status. Pure."""

from typing import NamedTuple

from nanogrid.api.status import RESULT_STORED
from nanogrid.plurals import counted
from nanogrid.reasons import NOT_STARTABLE, Reason
from nanogrid.types import Json
from nanogrid_operator.decision import webhook
from nanogrid_operator.decision.outcome import Delivery, Outcome, Storage
from nanogrid_operator.decision.webhook import Record
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.model.facts import Job
from nanogrid_operator.status.shorten import MESSAGE_CAP_BYTES, head

RESULT_DELIVERED = "ResultDelivered"
_SYNC_REASONS = frozenset(
    {
        Reason.INPUT_NOT_FOUND,
        Reason.INPUT_ACCESS_DENIED,
        Reason.INPUT_INCOMPLETE,
        Reason.INPUT_TOO_LARGE,
        Reason.CHECKSUM_MISMATCH,
        Reason.PATH_CONFLICT,
        Reason.UNSAFE_PATH,
        Reason.INPUT_ARCHIVED,
        Reason.ENCRYPTION_KEY_REFUSED,
        Reason.STORAGE_MISCONFIGURED,
        Reason.STORAGE_UNAVAILABLE,
        Reason.CLOCK_SKEW,
        Reason.EMPTY_ARCHIVE,
        Reason.CORRUPT_ARCHIVE,
        Reason.UNSAFE_ARCHIVE,
        Reason.ARCHIVE_TOO_LARGE,
        Reason.SYNC_FAILED,
        Reason.INPUT_SYNC_TIMEOUT,
    }
)
_NOT_STARTED = frozenset({*NOT_STARTABLE, Reason.PROCESS_REFUSED})


class Fact(NamedTuple):
    """A condition without its times."""

    kind: str
    truth: bool
    reason: Reason
    message: str = ""


def condition(job: Job, fact: Fact, now: float) -> Json:
    """One condition. Its transition time stays while its status does."""
    status = "True" if fact.truth else "False"
    old = next((c for c in _of(job) if c["type"] == fact.kind), None)
    kept = old is not None and old["status"] == status
    return {
        "type": fact.kind,
        "status": status,
        "reason": fact.reason.value,
        "message": head(fact.message, MESSAGE_CAP_BYTES // 2),
        "lastTransitionTime": old["lastTransitionTime"] if old and kept else timestamp(now),
        "observedGeneration": job.generation,
    }


def with_condition(job: Job, fact: Fact, now: float) -> list[Json]:
    """The job's conditions, with this one added or replaced."""
    others = [c for c in _of(job) if c["type"] != fact.kind]
    return [*others, condition(job, fact, now)]


def find_condition(job: Job, kind: str) -> Json | None:
    """The job's condition of this type, as it was last written."""
    return next((c for c in _of(job) if c["type"] == kind), None)


def _of(job: Job) -> list[Json]:
    return job.status.get("conditions") or []


def final_conditions(job: Job, outcome: Outcome, delivery: Delivery, now: float) -> list[Json]:
    """All conditions of an ended job: exactly one of Complete and Failed, and Finished."""
    # A program that did not start has the exit code of a shell.
    ran = outcome.result.exit_code is not None and outcome.reason not in _NOT_STARTED
    reason, message = outcome.reason, outcome.message
    facts = [
        *_inputs_synced(outcome, ran),
        Fact("SandboxReady", ran, Reason.EXECUTING if ran else reason),
        Fact("Executed", ran, reason if ran else Reason.NOT_EXECUTED, message),
        *([_outputs_uploaded(outcome)] if ran else []),
        delivered(delivery),
        Fact("Complete" if outcome.succeeded else "Failed", True, reason, message),
        Fact("Finished", True, reason, message),
    ]
    return [condition(job, fact, now) for fact in facts]


def sync_failed(outcome: Outcome) -> bool:
    """Whether the attempt ended because its inputs could not be copied and verified."""
    return outcome.reason in _SYNC_REASONS


def _inputs_synced(outcome: Outcome, ran: bool) -> list[Fact]:
    """InputsSynced; nothing if it is not known."""
    if sync_failed(outcome):
        return [Fact("InputsSynced", False, outcome.reason, outcome.message)]
    if outcome.inputs is not None:
        i = outcome.inputs
        text = f"{counted(i.files, 'file')}, {i.bytes} B in {i.duration_millis} ms"
        return [Fact("InputsSynced", True, Reason.SYNCED, ". ".join([text, *i.notes]))]
    return [Fact("InputsSynced", True, Reason.NO_INPUTS)] if ran else []


def _outputs_uploaded(outcome: Outcome) -> Fact:
    if outcome.reason is Reason.OUTPUT_UPLOAD_FAILED:
        return Fact("OutputsUploaded", False, outcome.reason, outcome.message)
    count, note = len(outcome.result.outputs), outcome.result.outputs_note
    if note:
        text = f"{counted(count, 'file')}. {note}" if count else note
        return Fact("OutputsUploaded", count > 0, Reason.OUTPUTS_NOT_MATCHED, text)
    if count == 0:
        return Fact("OutputsUploaded", True, Reason.NO_OUTPUTS)
    return Fact("OutputsUploaded", True, Reason.UPLOADED, counted(count, "file"))


def delivered(delivery: Delivery) -> Fact:
    """ResultDelivered: whether Redis has the result."""
    if delivery.state == "Delivered":
        reason = Reason.NO_SUBSCRIBER if delivery.receivers == 0 else Reason.DELIVERED
        unknown = delivery.receivers is None
        text = "published" if unknown else counted(delivery.receivers or 0, "subscriber")
        return Fact(RESULT_DELIVERED, True, reason, delivery.message or text)
    if delivery.state == "Conflict":
        return Fact(RESULT_DELIVERED, False, Reason.REQUEST_ID_CONFLICT, delivery.message)
    reason = delivery.reason or Reason.REDIS_UNAVAILABLE
    return Fact(RESULT_DELIVERED, False, reason, delivery.message)


def stored(storage: Storage) -> Fact:
    """ResultStored: whether S3 has the result."""
    return Fact(RESULT_STORED, storage.reason is Reason.STORED, storage.reason, storage.message)


def webhook_delivered(record: Record) -> Fact:
    """WebhookDelivered: whether the webhook has accepted the result."""
    accepted = record.state == webhook.DELIVERED
    return Fact("WebhookDelivered", accepted, webhook.REASONS[record.state], record.message)
