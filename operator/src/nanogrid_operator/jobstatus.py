"""What the operator writes into a job's status. Pure.

Every body is a merge patch for /status. Sizes are bounded in bytes of JSON, because that is what
etcd stores: a status never has more than 64 KiB, whatever a program prints, and what is pinned of a
function as much again at most.
"""

import json

from nanogrid import wire
from nanogrid.pinned import PinnedFunction
from nanogrid.reasons import Reason, sentence
from nanogrid.status import RESULT_STORED, Phase
from nanogrid_operator import webhook_rules
from nanogrid_operator.facts import Job, Json, Pod, timestamp
from nanogrid_operator.functionref import stored
from nanogrid_operator.outcome import Delivery, Outcome, Storage
from nanogrid_operator.webhook_rules import Record

STREAM_CAP_BYTES = 12 * 1024  # of stdout and of stderr each
OUTPUTS_CAP_BYTES = 12 * 1024  # of outputs and of outputFiles each
MESSAGE_CAP_BYTES = 1024
ATTEMPTS_KEPT = 30
STOPPED = frozenset({Reason.CANCELLED, Reason.DEADLINE_EXCEEDED})


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


def tail(text: str, cap: int) -> str:
    """The end of a text whose JSON has at most ``cap`` bytes."""
    text = text[-cap:]
    while (size := _size(text)) > cap:
        # Each character has at least one byte, so dropping the excess never drops too few twice.
        text = text[max(1, (size - cap) // 6) :]
    return text


def head(text: str, cap: int) -> str:
    """The beginning of a text whose JSON has at most ``cap`` bytes."""
    text = text[:cap]
    while (size := _size(text)) > cap:
        text = text[: len(text) - max(1, (size - cap) // 6)]
    return text


def first(items: list[Json], cap: int) -> list[Json]:
    """As many of the first items as have at most ``cap`` bytes of JSON together."""
    kept, total = 0, 0
    for item in items:
        total += _size(item) + 2
        if total > cap:
            break
        kept += 1
    return items[:kept]


def human_millis(millis: int) -> str:
    """312ms, 8.2s, 3m20s."""
    if millis < 1000:
        return f"{millis}ms"
    if millis < 59_950:
        return f"{millis / 1000:.1f}s"
    total = round(millis / 1000)
    return f"{total // 60}m{total % 60}s"


def human_bytes(count: int) -> str:
    """41Mi, 2.5Gi: binary units as in Kubernetes; Mi are rounded up, as peakMemoryMB is."""
    if count < 1 << 30:
        return f"{-(-count // (1 << 20))}Mi"
    return f"{count / (1 << 30):.1f}Gi"


def progress_status(job: Job, pod: Pod | None, phase: Phase, reason: Reason, text: str) -> Json:
    """A job that has not ended: what it does, or what it waits for."""
    status: Json = {
        "observedGeneration": job.generation,
        "phase": phase.value,
        "reason": reason.value,
        "message": head(text, MESSAGE_CAP_BYTES),
        "requestId": job.request_id,
    }
    if pod is not None:
        status["podName"] = pod.name
        status["startTime"] = job.status.get("startTime") or timestamp(pod.created)
    return status


def pinned_status(job: Job, pinned: PinnedFunction) -> Json:
    """What a job that refers to a function runs, before its first pod."""
    return {
        "observedGeneration": job.generation,
        "requestId": job.request_id,
        "function": stored(pinned),
    }


def attempt_entry(job: Job, pod: Pod | None, outcome: Outcome, counted: bool, now: float) -> Json:
    """The present attempt as status.attempts keeps it once it has ended."""
    limit = pod.memory_limit_bytes if pod else None
    values = {
        "number": job.attempt,
        "podName": pod.name if pod else "",
        "reason": outcome.reason.value,
        "exitCode": outcome.result.exit_code,
        "memoryLimit": human_bytes(limit) if limit else None,
        "peakMemoryBytes": outcome.result.peak_memory_bytes,
        "counted": counted,
        "startTime": timestamp(pod.created) if pod else None,
        "completionTime": timestamp(now),
    }
    return {k: v for k, v in values.items() if v is not None}


def _attempts(job: Job, entry: Json) -> list[Json]:
    return [*(job.status.get("attempts") or []), entry][-ATTEMPTS_KEPT:]


def retry_status(
    job: Job, pod: Pod | None, outcome: Outcome, counted: bool, suspended: bool, now: float
) -> Json:
    """An attempt has ended and another one follows, at once, after a pause or after resumption."""
    phase, reason = Phase.PENDING, Reason.RETRYING
    text = f"Attempt {job.attempt} ended: {outcome.message}"
    if suspended:
        phase, reason, text = Phase.SUSPENDED, Reason.SUSPENDED, sentence(Reason.SUSPENDED)
    entry = attempt_entry(job, pod, outcome, counted, now)
    return {
        **progress_status(job, pod, phase, reason, text),
        "podName": None,  # a merge patch removes it: the next attempt has no pod yet
        "attempts": _attempts(job, entry),
    }


def final_status(
    job: Job,
    pod: Pod | None,
    outcome: Outcome,
    delivery: Delivery,
    now: float,
    *,
    storage: Storage | None = None,
    webhook: bool = False,
) -> Json:
    """The whole terminal status.

    ``storage`` is None where there is no bucket; ``webhook`` when one is to be told the result.
    """
    result = outcome.result
    phase = Phase.SUCCEEDED if outcome.succeeded else Phase.FAILED
    status: Json = {
        **progress_status(job, pod, phase, outcome.reason, outcome.message),
        "completionTime": timestamp(now),
        "conditions": conditions(job, outcome, delivery, now),
        "result": for_status(result),
        "delivery": delivery_status(delivery),
        "timings": _timings(job, pod, result, now),
    }
    if pod is not None:
        counts = not outcome.succeeded and outcome.reason not in STOPPED
        status["attempts"] = _attempts(job, attempt_entry(job, pod, outcome, counts, now))
    elif job.attempts:
        status["attempts"] = job.status["attempts"]
    if result.exit_code is not None:
        status["duration"] = human_millis(result.duration_millis)
    if result.peak_memory_bytes is not None:
        peak = human_bytes(result.peak_memory_bytes)
        limit = pod.memory_limit_bytes if pod else None
        status["peakMemory"] = f"{peak}/{human_bytes(limit)}" if limit else peak
    if storage is not None:
        status["conditions"].append(condition(job, *storage_fact(storage), now))
    if webhook:
        waiting = Record()
        status["conditions"].append(condition(job, *webhook_fact(waiting), now))
        status["delivery"]["webhook"] = {"state": waiting.state, "attempts": 0}
    if outcome.inputs is not None:
        inputs = wire.to_dict(outcome.inputs)
        status["inputs"] = {k: v for k, v in inputs.items() if v is not None}
    return status


def _timings(job: Job, pod: Pod | None, result: wire.Result, now: float) -> Json:
    timings: Json = wire.to_dict(result.timings)
    if pod is not None:
        timings["pendingMillis"] = max(0, round(1000 * (pod.created - job.created)))
    timings["totalMillis"] = max(0, round(1000 * (now - job.created)))
    return {k: v for k, v in timings.items() if v is not None}


def for_status(result: wire.Result) -> Json:
    """The result as the CR keeps it: tails of the streams, the first outputs."""
    data: Json = wire.to_dict(result)
    for name in ("stdout", "stderr"):
        kept = tail(data[name], STREAM_CAP_BYTES)
        data[f"{name}Truncated"] = data[f"{name}Truncated"] or kept != data[name]
        data[name] = kept
    for name in ("outputs", "outputFiles"):
        data[name] = first(data[name], OUTPUTS_CAP_BYTES)
    for name, value in data.items():
        if isinstance(value, str) and name not in ("stdout", "stderr"):
            data[name] = head(value, MESSAGE_CAP_BYTES)
    return data


def shortened(result: wire.Result) -> bool:
    """Whether the CR's copy of a result may lack something that S3 has.

    The CR does not say whether outputs were left out, so many of them count as such.
    """
    many = 2 * _size(wire.to_dict(result.outputs)) > OUTPUTS_CAP_BYTES
    return result.stdout_truncated or result.stderr_truncated or many


def delivery_status(delivery: Delivery) -> Json:
    """status.delivery."""
    values = {
        "state": delivery.state,
        "receivers": delivery.receivers,
        "streamId": delivery.stream_id,
        "message": head(delivery.message, MESSAGE_CAP_BYTES),
    }
    return {k: v for k, v in values.items() if v is not None}


_SYNC_REASONS = {
    Reason.INPUT_NOT_FOUND,
    Reason.INPUT_ACCESS_DENIED,
    Reason.INPUT_INCOMPLETE,
    Reason.INPUT_TOO_LARGE,
    Reason.CHECKSUM_MISMATCH,
    Reason.PATH_CONFLICT,
    Reason.UNSAFE_PATH,
    Reason.STORAGE_UNAVAILABLE,
    Reason.CLOCK_SKEW,
    Reason.EMPTY_ARCHIVE,
    Reason.CORRUPT_ARCHIVE,
    Reason.UNSAFE_ARCHIVE,
    Reason.ARCHIVE_TOO_LARGE,
    Reason.SYNC_FAILED,
    Reason.INPUT_SYNC_TIMEOUT,
}


def conditions(job: Job, outcome: Outcome, delivery: Delivery, now: float) -> list[Json]:
    """All conditions of an ended job; exactly one of Complete and Failed, and Finished."""
    result = outcome.result
    ran = result.exit_code is not None
    facts: list[tuple[str, bool, Reason, str]] = []
    if outcome.reason in _SYNC_REASONS:
        facts.append(("InputsSynced", False, outcome.reason, outcome.message))
    elif outcome.inputs is not None:
        i = outcome.inputs
        text = f"{i.files} files, {i.bytes} B in {i.duration_millis} ms"
        facts.append(("InputsSynced", True, Reason.SYNCED, text))
    elif ran:
        facts.append(("InputsSynced", True, Reason.NO_INPUTS, ""))
    facts.append(("SandboxReady", ran, Reason.EXECUTING if ran else outcome.reason, ""))
    facts.append(("Executed", ran, outcome.reason if ran else Reason.NOT_EXECUTED, outcome.message))
    if ran:
        facts.append(_outputs_condition(outcome))
    facts.append(delivery_fact(delivery))
    kind = "Complete" if outcome.succeeded else "Failed"
    facts.append((kind, True, outcome.reason, outcome.message))
    facts.append(("Finished", True, outcome.reason, outcome.message))
    return [condition(job, *fact, now) for fact in facts]


def _outputs_condition(outcome: Outcome) -> tuple[str, bool, Reason, str]:
    if outcome.reason is Reason.OUTPUT_UPLOAD_FAILED:
        return ("OutputsUploaded", False, outcome.reason, outcome.message)
    count = len(outcome.result.outputs)
    if count == 0:
        return ("OutputsUploaded", True, Reason.NO_OUTPUTS, "")
    return ("OutputsUploaded", True, Reason.UPLOADED, f"{count} files")


def delivery_fact(delivery: Delivery) -> tuple[str, bool, Reason, str]:
    """The ResultDelivered condition's type, truth, reason and message."""
    if delivery.state == "Delivered":
        nobody = delivery.receivers == 0
        reason = Reason.NO_SUBSCRIBER if nobody else Reason.DELIVERED
        count = delivery.receivers or 0
        text = f"{count} subscriber{'' if count == 1 else 's'}"
        return ("ResultDelivered", True, reason, delivery.message or text)
    if delivery.state == "Conflict":
        return ("ResultDelivered", False, Reason.REQUEST_ID_CONFLICT, delivery.message)
    reason = delivery.reason or Reason.REDIS_UNAVAILABLE
    return ("ResultDelivered", False, reason, delivery.message)


def storage_fact(storage: Storage) -> tuple[str, bool, Reason, str]:
    """The ResultStored condition's type, truth, reason and message."""
    return (RESULT_STORED, storage.reason is Reason.STORED, storage.reason, storage.message)


def storage_status(job: Job, storage: Storage, now: float) -> Json | None:
    """Patch body for a finished job that S3 was asked about; None when it would say the same."""
    fresh = condition(job, *storage_fact(storage), now)
    old = [c for c in job.status.get("conditions") or [] if c["type"] == RESULT_STORED]
    if old and all(old[0].get(key) == fresh[key] for key in ("status", "reason", "message")):
        return None
    others = [c for c in job.status.get("conditions") or [] if c["type"] != RESULT_STORED]
    return {"conditions": [*others, fresh]}


def webhook_fact(record: Record) -> tuple[str, bool, Reason, str]:
    """The WebhookDelivered condition's type, truth, reason and message."""
    told = record.state == webhook_rules.DELIVERED
    return ("WebhookDelivered", told, webhook_rules.REASONS[record.state], record.message)


def webhook_status(job: Job, record: Record, now: float) -> Json:
    """Patch body for a job whose webhook was asked."""
    fresh = condition(job, *webhook_fact(record), now)
    others = [c for c in job.status.get("conditions") or [] if c["type"] != fresh["type"]]
    return {
        "conditions": [*others, fresh],
        "delivery": {
            "webhook": {
                "state": record.state,
                "attempts": record.attempts,
                "lastStatus": record.last_status,  # a merge patch removes null
                "message": head(record.message, MESSAGE_CAP_BYTES),
            }
        },
    }


def delivery_reason(job: Job) -> str | None:
    """The reason of the ResultDelivered condition, as it was last written."""
    found = (c for c in job.status.get("conditions") or [] if c["type"] == "ResultDelivered")
    return next((str(c["reason"]) for c in found), None)


def condition(job: Job, kind: str, truth: bool, reason: Reason, text: str, now: float) -> Json:
    """One condition; the transition time stays when the status does."""
    status = "True" if truth else "False"
    old = next((c for c in job.status.get("conditions") or [] if c["type"] == kind), None)
    kept = old is not None and old["status"] == status
    return {
        "type": kind,
        "status": status,
        "reason": reason.value,
        "message": head(text, MESSAGE_CAP_BYTES // 2),
        "lastTransitionTime": old["lastTransitionTime"] if old and kept else timestamp(now),
        "observedGeneration": job.generation,
    }


def delivered_status(job: Job, delivery: Delivery, now: float) -> Json:
    """Patch body for a job whose terminal status is written and whose delivery moved on."""
    fresh = condition(job, *delivery_fact(delivery), now)
    others = [c for c in job.status.get("conditions") or [] if c["type"] != fresh["type"]]
    return {"conditions": [*others, fresh], "delivery": delivery_status(delivery)}
