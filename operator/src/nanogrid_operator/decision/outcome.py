"""From the facts of an ended attempt to its result. Pure."""

from dataclasses import dataclass, replace

from nanogrid import names, result_bounds, wire
from nanogrid.reasons import CHILD_OOM_KILLED, Reason, sentence
from nanogrid.rightsizing import optimization_tip
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.pod_facts import Ended, Pod

MESSAGE_CAP = 1024
KILLED_EXIT_CODE = 137  # 128 + SIGKILL: of the code, or passed on by a shell that ran it


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    ``ours``: the result differs from the one that the agent stored in S3. ``unstored``: the agent
    did not store it, or may not have. ``remove_pod``: its pod would otherwise wait for ever.
    """

    reason: Reason
    message: str
    result: wire.Result
    inputs: wire.InputReport | None = None
    ours: bool = True
    unstored: bool = False
    remove_pod: bool = False

    @property
    def succeeded(self) -> bool:
        """Whether the job is Complete rather than Failed."""
        return self.result.status == wire.STATUS_SUCCESS


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """The answer of Redis; ``state`` as in status.delivery.

    ``reason`` says why there is no delivery. ``previous_result`` is the result that an earlier try
    of this job delivered, if it differs from the result of this try. ``replaced`` says what was in
    its place and was not authentic.
    """

    state: str
    reason: Reason | None = None
    previous_result: wire.Result | None = None
    receivers: int | None = None
    stream_id: str | None = None
    message: str = ""
    replaced: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Whether S3 has the result; ``reason`` and ``message`` say why not."""

    reason: Reason = Reason.STORED
    message: str = ""

    @classmethod
    def failed(cls, message: str) -> "Storage":
        """S3 did not take it. The operator tries again."""
        return cls(reason=Reason.STORAGE_UNAVAILABLE, message=message)

    @property
    def pending(self) -> bool:
        """Whether S3 does not have it yet."""
        return self.reason is Reason.STORAGE_UNAVAILABLE


def failure(job: Job, reason: Reason, detail: str = "", *, remove_pod: bool = False) -> Outcome:
    """The outcome of a job whose code did not run, or whose pod cannot report."""
    message = sentence(reason, detail)[:MESSAGE_CAP]
    spec = job.model.spec if job.model else None
    result = wire.blank_result(
        request_id=job.request_id,
        function_id=spec.function_id if spec else None,
        status=wire.STATUS_FAILED,
        reason=reason.value,
        job=wire.JobRef(namespace=job.namespace, name=job.name, uid=job.uid),
        attempt=job.attempt,
        message=message,
    )
    return Outcome(reason=reason, message=message, result=result, remove_pod=remove_pod)


def sync_failure(job: Job, ended: Ended) -> Outcome:
    """The outcome of a failed input sync, from its termination message."""
    try:
        reported = wire.loads(wire.SyncFailure, ended.message)
        return failure(job, Reason(reported.reason), reported.message)
    except ValueError:
        return failure(job, Reason.SYNC_FAILED, f"{own_end(ended)}. {ended.message}".strip(". "))


def is_own_report(ended: Ended) -> bool:
    """Whether a container of the executor named the reason of its failure."""
    try:
        wire.loads(wire.SyncFailure, ended.message)
    except ValueError:
        return False
    return True


def own_end(ended: Ended) -> str:
    """How a container of the executor ended, and what to raise if its memory was too small."""
    detail = f"exit code {ended.exit_code}, {ended.reason or 'no reason'}"
    if ended.reason == "OOMKilled":
        detail += " (it ran out of memory: raise the chart's sandbox.agent.memory)"
    return detail


def from_report(job: Job, pod: Pod | None, report: wire.Report) -> Outcome:
    """The outcome that the agent reported, checked against what the kubelet reports, if it does."""
    foreign = _foreign(job, report)
    if foreign is not None:
        return foreign
    result = _checked(report.result, _sandbox_end(job, pod))
    return _outcome(report, result)


def _sandbox_end(job: Job, pod: Pod | None) -> Ended | None:
    """How the kubelet saw the end of the code, if it did."""
    if job.model is not None and job.model.spec.is_session:
        return None  # the kubelet may have restarted a session's sandbox any number of times
    return pod.container(names.CONTAINER_SANDBOX).ended if pod else None


def credible(job: Job, pod: Pod | None, result: wire.Result) -> bool:
    """Whether neither the result itself nor the kubelet contradicts it."""
    return _checked(result, _sandbox_end(job, pod)).status == result.status


def _foreign(job: Job, report: wire.Report) -> Outcome | None:
    """The outcome if the report names another job, request or attempt."""
    result = report.result
    given = (result.job.uid, result.request_id, result.attempt)
    if given == (job.uid, job.request_id, job.attempt):
        return None
    detail = "the report names job {}, request {} and attempt {}".format(*given)
    return failure(job, Reason.RESULT_MISMATCH, detail)


def _outcome(report: wire.Report, result: wire.Result) -> Outcome:
    reason = known_reason(result)
    return Outcome(
        reason=reason,
        message=(result.message or sentence(reason))[:MESSAGE_CAP],
        result=result,
        inputs=report.inputs,
        ours=result is not report.result,
        unstored=not report.stored,
    )


def adopted(ended: Outcome, previous: wire.Result) -> Outcome:
    """The outcome with the result that Redis already has: a delivery cannot be revoked."""
    reason = known_reason(previous)
    message = (previous.message or sentence(reason))[:MESSAGE_CAP]
    return replace(ended, reason=reason, message=message, result=previous, ours=True)


def with_note(ended: Outcome, note: str) -> Outcome:
    """The same end, with one more sentence in its message."""
    room = MESSAGE_CAP - len(note) - 1
    message = f"{ended.message[:room]} {note}".strip()
    return replace(ended, message=message, result=replace(ended.result, message=message), ours=True)


def minimal(job: Job, ended: Outcome, refusal: str) -> Outcome:
    """The same end without output, measurements and files: the API server refused the full status.

    It has only values that the operator itself makes.
    """
    blank = failure(job, ended.reason, f"The API server refused the full status: {refusal}")
    result = replace(blank.result, status=ended.result.status, exit_code=ended.result.exit_code)
    return replace(blank, result=result_bounds.result(result), remove_pod=ended.remove_pod)


def same_end(one: wire.Result, other: wire.Result) -> bool:
    """Whether two results report the same end, even if one of them is a shortened copy."""
    return (one.status, one.reason, one.exit_code, one.attempt) == (
        other.status, other.reason, other.exit_code, other.attempt,
    )  # fmt: skip


def known_reason(result: wire.Result) -> Reason:
    """The result's reason. A newer agent may know reasons that this operator does not know."""
    try:
        return Reason(result.reason)
    except ValueError:
        by_status = {
            wire.STATUS_SUCCESS: Reason.COMPLETED,
            wire.STATUS_TIMEOUT: Reason.EXECUTION_TIMEOUT,
        }
        return by_status.get(result.status, Reason.NON_ZERO_EXIT)


def with_cause(reported: Outcome, reason: Reason, pod: Pod | None) -> Outcome:
    """The same end, with the cause that the agent could not know: what stopped the pod."""
    if reason is reported.reason:
        return reported
    detail = pod.message if pod and pod.message else ""
    result = _as_failure(reported.result, reason, detail)
    return replace(reported, reason=reason, message=result.message, result=result, ours=True)


def _checked(result: wire.Result, ended: Ended | None) -> wire.Result:
    """The reported result, corrected if it contradicts itself or the kubelet."""
    success = result.status == wire.STATUS_SUCCESS
    if success and result.exit_code != 0:
        detail = f"reported SUCCESS with exit code {result.exit_code}"
        return _as_failure(result, Reason.RESULT_MISMATCH, detail)
    if ended is None:
        return result
    if ended.reason == "OOMKilled" and _ended_by_itself(result, ended):
        return _with_oom_hint(result)
    if ended.reason == "OOMKilled" and not success:
        return _as_failure(result, Reason.OOM_KILLED, result.message)
    if result.exit_code is not None and result.exit_code != ended.exit_code:
        detail = (
            f"reported exit code {result.exit_code}, the kubelet saw {ended.exit_code} "
            f"({ended.reason})"
        )
        return _as_failure(result, Reason.RESULT_MISMATCH, detail)
    return result


def _ended_by_itself(result: wire.Result, ended: Ended) -> bool:
    """Whether the kernel killed a child only: then the code's own exit code decides."""
    by_itself = result.reason == Reason.NON_ZERO_EXIT and result.exit_code != KILLED_EXIT_CODE
    return by_itself and result.exit_code == ended.exit_code


def _with_oom_hint(result: wire.Result) -> wire.Result:
    if CHILD_OOM_KILLED in result.message:
        return result
    room = MESSAGE_CAP - len(CHILD_OOM_KILLED) - 2
    return replace(result, message=f"{result.message[:room]} {CHILD_OOM_KILLED}.".strip())


def _as_failure(result: wire.Result, reason: Reason, detail: str) -> wire.Result:
    if (result.reason, result.status) == (reason.value, wire.STATUS_FAILED):
        return result
    return replace(
        result,
        status=wire.STATUS_FAILED,
        reason=reason.value,
        message=sentence(reason, detail)[:MESSAGE_CAP],
    )


def sandbox_lost(job: Job, pod: Pod, report: wire.Report) -> Outcome:
    """The sandbox ended without a report to the agent; the kubelet completes the result."""
    foreign = _foreign(job, report)
    if foreign is not None:
        return foreign
    ended = pod.container(names.CONTAINER_SANDBOX).ended
    if ended is None:
        detail = "the kubelet has not reported why"
        return _outcome(report, _as_failure(report.result, Reason.SANDBOX_LOST, detail))
    if ended.reason == "OOMKilled":
        return _outcome(report, _out_of_memory(report.result, ended, pod.memory_limit_bytes))
    detail = f"exit code {ended.exit_code}, {ended.reason}"
    result = _as_failure(report.result, Reason.SANDBOX_LOST, detail)
    return _outcome(report, replace(result, exit_code=ended.exit_code))


def _out_of_memory(result: wire.Result, ended: Ended, limit: int | None) -> wire.Result:
    """The kernel killed all processes of the sandbox at once: the peak was the limit."""
    peak = result.peak_memory_bytes or limit
    return replace(
        result,
        status=wire.STATUS_FAILED,
        reason=Reason.OOM_KILLED.value,
        message=sentence(Reason.OOM_KILLED),
        exit_code=ended.exit_code,
        signal="SIGKILL",
        peak_memory_bytes=peak,
        peak_memory_mb=-(-peak // (1 << 20)) if peak else None,
        memory_source=result.memory_source or ("limit" if limit else None),
        optimization_tip=optimization_tip(limit, peak, oom_killed=True),
    )
