"""From what is known of an ended attempt to its result. Pure."""

from dataclasses import dataclass, replace

from nanogrid import names, wire
from nanogrid.reasons import CHILD_OOM_KILLED, Reason, sentence
from nanogrid_operator.facts import Ended, Job, Pod

MESSAGE_CAP = 1024
KILLED_EXIT_CODE = 137  # 128 + SIGKILL: of the code, or passed on by a shell around it


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    ``ours`` when the result is not, or not in these words, the one that the agent stored in S3;
    ``unstored`` when the agent has not stored it, or may not have; ``remove_pod`` when its pod
    would otherwise wait for ever.
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
    """What Redis said; ``state`` as in status.delivery.

    ``reason`` says why there is no delivery. ``told`` is what an earlier try of this job told,
    where that differs from what this one wanted to tell.
    """

    state: str
    reason: Reason | None = None
    told: wire.Result | None = None
    receivers: int | None = None
    stream_id: str | None = None
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """Whether S3 has the result; ``reason`` and ``message`` say why not."""

    reason: Reason = Reason.STORED
    message: str = ""

    @classmethod
    def failed(cls, message: str) -> "Storage":
        """S3 did not take it, and is asked again."""
        return cls(reason=Reason.STORAGE_UNAVAILABLE, message=message)

    @property
    def pending(self) -> bool:
        """Whether it is still to be stored."""
        return self.reason is Reason.STORAGE_UNAVAILABLE


def failure(job: Job, reason: Reason, detail: str = "", *, remove_pod: bool = False) -> Outcome:
    """The outcome of a job whose code did not run, or whose pod cannot tell."""
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
        told = wire.loads(wire.SyncFailure, ended.message)
        return failure(job, Reason(told.reason), told.message)
    except ValueError:
        return failure(job, Reason.SYNC_FAILED, f"{own_end(ended)}. {ended.message}".strip(". "))


def own_end(ended: Ended) -> str:
    """How one of the executor's own containers ended, and what to raise if it was its memory."""
    said = f"exit code {ended.exit_code}, {ended.reason or 'no reason'}"
    if ended.reason == "OOMKilled":
        said += " (it ran out of memory: raise the chart's sandbox.agent.memory)"
    return said


def from_report(job: Job, pod: Pod | None, report: wire.Report) -> Outcome:
    """The outcome that the agent reported, checked against the kubelet's word if that is known."""
    foreign = _foreign(job, report)
    if foreign is not None:
        return foreign
    ended = pod.container(names.CONTAINER_SANDBOX).ended if pod else None
    if job.model is not None and job.model.spec.is_session:
        ended = None  # a session's sandbox may have ended, and come back, any number of times
    result = _checked(report.result, ended)
    return _outcome(report, result)


def _foreign(job: Job, report: wire.Report) -> Outcome | None:
    """A report that names another job's request is not this job's result."""
    result = report.result
    if (result.job.uid, result.request_id) == (job.uid, job.request_id):
        return None
    said = f"the report names job {result.job.uid} and request {result.request_id}"
    return failure(job, Reason.RESULT_MISMATCH, said)


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


def adopted(ended: Outcome, told: wire.Result) -> Outcome:
    """What Redis was told before, in place of what would be told now: it cannot be taken back."""
    reason = known_reason(told)
    message = (told.message or sentence(reason))[:MESSAGE_CAP]
    return replace(ended, reason=reason, message=message, result=told, ours=True)


def same_end(one: wire.Result, other: wire.Result) -> bool:
    """Whether two results say the same, whichever of them is a shortened copy."""
    return (one.status, one.reason, one.exit_code, one.attempt) == (
        other.status, other.reason, other.exit_code, other.attempt,
    )  # fmt: skip


def known_reason(result: wire.Result) -> Reason:
    """The result's reason; a newer agent may know reasons that this operator does not."""
    try:
        return Reason(result.reason)
    except ValueError:
        by_status = {
            wire.STATUS_SUCCESS: Reason.COMPLETED,
            wire.STATUS_TIMEOUT: Reason.EXECUTION_TIMEOUT,
        }
        return by_status.get(result.status, Reason.NON_ZERO_EXIT)


def because(told: Outcome, reason: Reason, pod: Pod | None) -> Outcome:
    """The same end, with the cause that the agent could not know: who stopped the pod."""
    if reason is told.reason:
        return told
    said = pod.message if pod and pod.message else ""
    result = _as_failure(told.result, reason, said)
    return replace(told, reason=reason, message=result.message, result=result, ours=True)


def _checked(result: wire.Result, ended: Ended | None) -> wire.Result:
    """Correct the reported result where it contradicts itself, or the kubelet knows better."""
    success = result.status == wire.STATUS_SUCCESS
    if success and result.exit_code != 0:
        said = f"reported SUCCESS with exit code {result.exit_code}"
        return _as_failure(result, Reason.RESULT_MISMATCH, said)
    if ended is None:
        return result
    if ended.reason == "OOMKilled" and _ended_by_itself(result, ended):
        return _with_oom_hint(result)
    if ended.reason == "OOMKilled" and not success:
        return _as_failure(result, Reason.OOM_KILLED, result.message)
    if result.exit_code is not None and result.exit_code != ended.exit_code:
        said = (
            f"reported exit code {result.exit_code}, the kubelet saw {ended.exit_code} "
            f"({ended.reason})"
        )
        return _as_failure(result, Reason.RESULT_MISMATCH, said)
    return result


def _ended_by_itself(result: wire.Result, ended: Ended) -> bool:
    """Whether it was a child that was killed: the code's own exit code decides what it means."""
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
    """The sandbox went without a word to the agent; the kubelet's word completes the result."""
    foreign = _foreign(job, report)
    if foreign is not None:
        return foreign
    ended = pod.container(names.CONTAINER_SANDBOX).ended
    if ended is None:
        said = "the kubelet has not said why"
        return _outcome(report, _as_failure(report.result, Reason.SANDBOX_LOST, said))
    if ended.reason == "OOMKilled":
        return _outcome(report, _out_of_memory(report.result, ended, pod.memory_limit_bytes))
    said = f"exit code {ended.exit_code}, {ended.reason}"
    result = _as_failure(report.result, Reason.SANDBOX_LOST, said)
    return _outcome(report, replace(result, exit_code=ended.exit_code))


def _out_of_memory(result: wire.Result, ended: Ended, limit: int | None) -> wire.Result:
    """All processes of the sandbox were killed at once: the peak was the limit."""
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
