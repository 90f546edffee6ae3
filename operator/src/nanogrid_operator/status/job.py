"""The status of a job as the operator writes it. Pure.

Every body is a merge patch for /status. Sizes are bounded in bytes of JSON, which is what etcd
stores. A status has at most 64 KiB, for any output of a program, and the pinned function at most as
much again.
"""

from nanogrid import wire
from nanogrid.api.pinned_function import PinnedFunction
from nanogrid.lifecycle import Phase
from nanogrid.reasons import Reason, sentence
from nanogrid.result_bounds import optional
from nanogrid.result_copy import OUTPUTS_CAP_BYTES, STREAM_CAP_BYTES
from nanogrid.sizes import size_text
from nanogrid.types import Json
from nanogrid_operator.decision.outcome import Delivery, Outcome, Storage
from nanogrid_operator.decision.webhook import Record
from nanogrid_operator.kube.objects import timestamp
from nanogrid_operator.model import function_ref
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Pod
from nanogrid_operator.status.conditions import (
    RESULT_DELIVERED,
    condition,
    delivered,
    final_conditions,
    find_condition,
    stored,
    webhook_delivered,
    with_condition,
)
from nanogrid_operator.status.live_memory import peak_text, without_memory
from nanogrid_operator.status.shorten import MESSAGE_CAP_BYTES, first, head, tail

ATTEMPTS_KEPT = 30
URI_CAP_BYTES = 2048  # of the manifest: a name of a bucket and the longest key
STOPPED = frozenset({Reason.CANCELLED, Reason.DEADLINE_EXCEEDED})


def human_millis(millis: int) -> str:
    """312ms, 8.2s, 3m20s."""
    if millis < 1000:
        return f"{millis}ms"
    if millis < 59_950:
        return f"{millis / 1000:.1f}s"
    total = round(millis / 1000)
    return f"{total // 60}m{total % 60}s"


def progress_status(job: Job, pod: Pod | None, phase: Phase, reason: Reason, text: str) -> Json:
    """The status of a job that has not ended: what it does, or what it waits for."""
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
        status |= _start(job, pod)
    return status


def _start(job: Job, pod: Pod) -> Json:
    """How the current attempt started."""
    text = "" if pod.pool else head(job.start_message, MESSAGE_CAP_BYTES)
    status: Json = {"start": pod.start}
    if text or (job.status.get("startMessage") and pod.pool):
        status["startMessage"] = text or None  # a merge patch removes that of an earlier attempt
    return status


def pinned_status(job: Job, pinned: PinnedFunction) -> Json:
    """The pinned function of a job, written before its first pod."""
    return {
        "observedGeneration": job.generation,
        "requestId": job.request_id,
        "function": function_ref.to_status(pinned),
    }


def attempt_entry(job: Job, pod: Pod | None, outcome: Outcome, counted: bool, now: float) -> Json:
    """The current attempt, which has ended, as an entry of status.attempts."""
    limit = pod.memory_limit_bytes if pod else None
    values = {
        "number": job.attempt,
        "podName": pod.name if pod else "",
        "reason": outcome.reason.value,
        "exitCode": outcome.result.exit_code,
        "memoryLimit": size_text(limit) if limit else None,
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
    """The status after an attempt that another one follows: at once, after a pause or a resume."""
    phase, reason = Phase.PENDING, Reason.RETRYING
    text = f"Attempt {job.attempt} ended: {outcome.message}"
    if suspended:
        phase, reason, text = Phase.SUSPENDED, Reason.SUSPENDED, sentence(Reason.SUSPENDED)
    entry = attempt_entry(job, pod, outcome, counted, now)
    return {
        **progress_status(job, pod, phase, reason, text),
        **without_memory(job),
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
    """The terminal status.

    ``storage`` is None without a bucket. ``webhook``: whether the result goes to a webhook.
    """
    result = outcome.result
    phase = Phase.SUCCEEDED if outcome.succeeded else Phase.FAILED
    status: Json = {
        **progress_status(job, pod, phase, outcome.reason, outcome.message),
        **without_memory(job),
        "completionTime": timestamp(now),
        "conditions": final_conditions(job, outcome, delivery, now),
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
        limit = pod.memory_limit_bytes if pod else None
        status["peakMemory"] = peak_text(result.peak_memory_bytes, limit)
    if storage is not None:
        status["conditions"].append(condition(job, stored(storage), now))
    if webhook:
        waiting = Record()
        status["conditions"].append(condition(job, webhook_delivered(waiting), now))
        status["delivery"]["webhook"] = {"state": waiting.state, "attempts": 0}
    if outcome.inputs is not None:
        inputs = wire.to_dict(outcome.inputs)
        del inputs["notes"]  # they are in the condition InputsSynced
        inputs["manifest"] = optional(_uri, inputs["manifest"])
        status["inputs"] = {k: v for k, v in inputs.items() if v is not None}
    return status


def _uri(text: str) -> str:
    return head(text, URI_CAP_BYTES)


def _timings(job: Job, pod: Pod | None, result: wire.Result, now: float) -> Json:
    timings: Json = wire.to_dict(result.timings)
    if pod is not None:
        timings["pendingMillis"] = max(0, round(1000 * (pod.created - job.created)))
    timings["totalMillis"] = max(0, round(1000 * (now - job.created)))
    return {k: v for k, v in timings.items() if v is not None}


def for_status(result: wire.Result) -> Json:
    """The result as the status keeps it: tails of the streams, the first outputs."""
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


def delivery_status(delivery: Delivery) -> Json:
    """status.delivery."""
    values = {
        "state": delivery.state,
        "receivers": delivery.receivers,
        "streamId": delivery.stream_id,
        "message": head(delivery.message, MESSAGE_CAP_BYTES),
    }
    return {k: v for k, v in values.items() if v is not None}


def delivery_reason(job: Job) -> str | None:
    """The reason of the ResultDelivered condition, as it was last written."""
    found = find_condition(job, RESULT_DELIVERED)
    return None if found is None else str(found["reason"])


def delivered_status(job: Job, delivery: Delivery, now: float) -> Json:
    """Patch body for a finished job whose delivery to Redis has changed."""
    return {
        "conditions": with_condition(job, delivered(delivery), now),
        "delivery": delivery_status(delivery),
    }


def storage_status(job: Job, storage: Storage, now: float) -> Json | None:
    """Patch body for a finished job after a call to S3; None if it changes nothing."""
    fact = stored(storage)
    old, new = find_condition(job, fact.kind), condition(job, fact, now)
    if old and all(old.get(key) == new[key] for key in ("status", "reason", "message")):
        return None
    return {"conditions": with_condition(job, fact, now)}


def webhook_status(job: Job, record: Record, now: float) -> Json:
    """Patch body for a job after a request to its webhook."""
    return {
        "conditions": with_condition(job, webhook_delivered(record), now),
        "delivery": {
            "webhook": {
                "state": record.state,
                "attempts": record.attempts,
                "lastStatus": record.last_status,  # a merge patch removes null
                "message": head(record.message, MESSAGE_CAP_BYTES),
            }
        },
    }
