"""From what is known of an ended job to its result and its final status. Pure."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from nanogrid import names, wire
from nanogrid.reasons import Reason, sentence
from nanogrid.status import Phase
from nanogrid_operator.facts import Ended, Job, Json, Pod

STATUS_STREAM_CAP = 8 * 1024  # characters of stdout and of stderr on the CR
STATUS_OUTPUTS_CAP = 100
MESSAGE_CAP = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended. ``remove_pod`` when its pod would otherwise wait for ever."""

    reason: Reason
    message: str
    result: wire.Result
    inputs: wire.InputReport | None = None
    remove_pod: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the job is Complete rather than Failed."""
        return self.result.status == wire.STATUS_SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What Redis said; ``state`` as in status.delivery."""

    state: str
    receivers: int | None = None
    stream_id: str | None = None
    message: str = ""


def failure(job: Job, reason: Reason, detail: str = "", *, remove_pod: bool = False) -> Outcome:
    """The outcome of a job whose code did not run, or whose pod cannot tell."""
    message = sentence(reason, detail)[:MESSAGE_CAP]
    spec = job.model.spec if job.model else None
    result = wire.Result(
        request_id=job.request_id,
        function_id=spec.function_id if spec else None,
        status=wire.STATUS_FAILED,
        exit_code=None,
        stdout="",
        stderr="",
        duration_millis=0,
        peak_memory_bytes=None,
        peak_memory_mb=None,
        optimization_tip="",
        output_files=[],
        reason=reason.value,
        job=wire.JobRef(namespace=job.namespace, name=job.name, uid=job.uid),
        message=message,
    )
    return Outcome(reason=reason, message=message, result=result, remove_pod=remove_pod)


def sync_failure(job: Job, ended: Ended) -> Outcome:
    """The outcome of a failed input sync, from its termination message."""
    try:
        told = wire.loads(wire.SyncFailure, ended.message)
        return failure(job, Reason(told.reason), told.message)
    except ValueError:
        cause = f"exit code {ended.exit_code}, {ended.reason or 'no reason'}: {ended.message}"
        if ended.reason == "OOMKilled":
            cause = f"the sync container ran out of memory ({cause})"
        return failure(job, Reason.SYNC_FAILED, cause)


def from_report(job: Job, pod: Pod | None, report: wire.Report) -> Outcome:
    """The outcome that the agent reported, checked against the kubelet's word if that is known."""
    result = report.result
    if (result.job.uid, result.request_id) != (job.uid, job.request_id):
        return failure(
            job,
            Reason.RESULT_MISMATCH,
            f"the report names job {result.job.uid} and request {result.request_id}",
        )
    ended = pod.container(names.CONTAINER_SANDBOX).ended if pod else None
    if ended is not None:
        result = _checked(result, ended)
    reason = Reason(result.reason)
    message = result.message or sentence(reason)
    return Outcome(reason=reason, message=message, result=result, inputs=report.inputs)


def _checked(result: wire.Result, ended: Ended) -> wire.Result:
    """Correct the reported result where the kubelet knows better."""
    if ended.reason == "OOMKilled" and result.status != wire.STATUS_SUCCESS:
        return _as_failure(result, Reason.OOM_KILLED, result.message)
    if result.exit_code is not None and result.exit_code != ended.exit_code:
        detail = (
            f"reported exit code {result.exit_code}, the kubelet saw {ended.exit_code} "
            f"({ended.reason})"
        )
        return _as_failure(result, Reason.RESULT_MISMATCH, detail)
    return result


def _as_failure(result: wire.Result, reason: Reason, detail: str) -> wire.Result:
    if result.reason == reason.value:
        return result
    return replace(
        result,
        status=wire.STATUS_FAILED,
        reason=reason.value,
        message=sentence(reason, detail)[:MESSAGE_CAP],
    )


def sandbox_lost(pod: Pod, report: wire.Report) -> Outcome:
    """The sandbox went without a word to the agent; the kubelet's word completes the result."""
    ended = pod.container(names.CONTAINER_SANDBOX).ended
    if ended is None:
        said = "the kubelet has not said why"
        result = _as_failure(report.result, Reason.SANDBOX_LOST, said)
    elif ended.reason == "OOMKilled":
        limit = pod.memory_limit_bytes
        result = replace(
            report.result,
            status=wire.STATUS_FAILED,
            reason=Reason.OOM_KILLED.value,
            message=sentence(Reason.OOM_KILLED),
            exit_code=ended.exit_code,
            signal="SIGKILL",
            peak_memory_bytes=report.result.peak_memory_bytes or limit,
            memory_source=report.result.memory_source or ("limit" if limit else None),
        )
    else:
        said = f"exit code {ended.exit_code}, {ended.reason}"
        result = replace(
            _as_failure(report.result, Reason.SANDBOX_LOST, said), exit_code=ended.exit_code
        )
    return Outcome(
        reason=Reason(result.reason), message=result.message, result=result, inputs=report.inputs
    )


def read_report(pod: Pod) -> wire.Report | None:
    """The report in the agent's termination message: the second source of a result."""
    ended = pod.container(names.CONTAINER_AGENT).ended
    if ended is None or not ended.message:
        return None
    try:
        return wire.loads(wire.Report, ended.message)
    except ValueError:
        return None


def timestamp(now: float) -> str:
    """RFC 3339 in UTC with whole seconds, as Kubernetes writes it."""
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def human_millis(millis: int) -> str:
    """312ms, 8.2s, 3m20s."""
    if millis < 1000:
        return f"{millis}ms"
    if millis < 60_000:
        return f"{millis / 1000:.1f}s"
    return f"{millis // 60_000}m{millis % 60_000 // 1000}s"


def human_bytes(count: int) -> str:
    """41Mi, 2.5Gi: binary units as in Kubernetes; Mi are rounded up, as peakMemoryMB is."""
    if count < 1 << 30:
        return f"{-(-count // (1 << 20))}Mi"
    return f"{count / (1 << 30):.1f}Gi"


def final_status(
    job: Job, pod: Pod | None, outcome: Outcome, delivery: Delivery, now: float
) -> Json:
    """The whole terminal status, as a merge patch body for /status."""
    result = outcome.result
    status: Json = {
        "observedGeneration": job.generation,
        "phase": (Phase.SUCCEEDED if outcome.succeeded else Phase.FAILED).value,
        "reason": outcome.reason.value,
        "message": outcome.message,
        "requestId": job.request_id,
        "completionTime": timestamp(now),
        "conditions": conditions(job, outcome, delivery, now),
        "result": for_status(result),
        "delivery": delivery_status(delivery),
    }
    if pod is not None:
        status["podName"] = pod.name
        status["startTime"] = timestamp(pod.created)
        status["attempts"] = [
            {"number": pod.attempt, "podName": pod.name, "reason": outcome.reason.value}
        ]
    if result.exit_code is not None:
        status["duration"] = human_millis(result.duration_millis)
    if result.peak_memory_bytes is not None:
        peak = human_bytes(result.peak_memory_bytes)
        limit = pod.memory_limit_bytes if pod else None
        status["peakMemory"] = f"{peak}/{human_bytes(limit)}" if limit else peak
    if outcome.inputs is not None:
        status["inputs"] = wire.to_dict(outcome.inputs)
    return status


def delivery_status(delivery: Delivery) -> Json:
    """status.delivery."""
    values = {
        "state": delivery.state,
        "receivers": delivery.receivers,
        "streamId": delivery.stream_id,
        "message": delivery.message,
    }
    return {k: v for k, v in values.items() if v is not None}


def for_status(result: wire.Result) -> Json:
    """The result as the CR keeps it: tails of the streams, the first outputs."""
    data: Json = wire.to_dict(result)
    for name in ("stdout", "stderr"):
        if len(data[name]) > STATUS_STREAM_CAP:
            data[name] = data[name][-STATUS_STREAM_CAP:]
            data[f"{name}Truncated"] = True
    data["outputs"] = data["outputs"][:STATUS_OUTPUTS_CAP]
    data["outputFiles"] = data["outputFiles"][:STATUS_OUTPUTS_CAP]
    return data


def shortened(kept: wire.Result) -> bool:
    """Whether the CR's copy of a result may lack outputs."""
    return len(kept.outputs) >= STATUS_OUTPUTS_CAP


_SYNC_REASONS = {
    Reason.INPUT_NOT_FOUND,
    Reason.INPUT_ACCESS_DENIED,
    Reason.INPUT_INCOMPLETE,
    Reason.INPUT_TOO_LARGE,
    Reason.CHECKSUM_MISMATCH,
    Reason.PATH_CONFLICT,
    Reason.UNSAFE_PATH,
    Reason.STORAGE_UNAVAILABLE,
    Reason.EMPTY_ARCHIVE,
    Reason.CORRUPT_ARCHIVE,
    Reason.UNSAFE_ARCHIVE,
    Reason.ARCHIVE_TOO_LARGE,
    Reason.SYNC_FAILED,
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
    return ("ResultDelivered", False, Reason.REDIS_UNAVAILABLE, delivery.message)


def condition(job: Job, kind: str, truth: bool, reason: Reason, text: str, now: float) -> Json:
    """One condition; the transition time stays when the status does."""
    status = "True" if truth else "False"
    old = next((c for c in job.status.get("conditions") or [] if c["type"] == kind), None)
    kept = old is not None and old["status"] == status
    return {
        "type": kind,
        "status": status,
        "reason": reason.value,
        "message": text[:MESSAGE_CAP],
        "lastTransitionTime": old["lastTransitionTime"] if old and kept else timestamp(now),
        "observedGeneration": job.generation,
    }


def delivered_status(job: Job, delivery: Delivery, now: float) -> Json:
    """Patch body for a job whose terminal status is written and whose delivery moved on."""
    fresh = condition(job, *delivery_fact(delivery), now)
    others = [c for c in job.status.get("conditions") or [] if c["type"] != fresh["type"]]
    return {"conditions": [*others, fresh], "delivery": delivery_status(delivery)}
