"""From what is known of an ended attempt to its result. Pure."""

from dataclasses import dataclass, replace

from nanogrid import names, wire
from nanogrid.reasons import Reason, sentence
from nanogrid_operator.facts import Ended, Job, Pod

MESSAGE_CAP = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How an attempt ended.

    ``ours`` when the result is not, or not in these words, the one that the agent stored in S3;
    ``remove_pod`` when its pod would otherwise wait for ever.
    """

    reason: Reason
    message: str
    result: wire.Result
    inputs: wire.InputReport | None = None
    ours: bool = True
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
    same = result is report.result
    return Outcome(
        reason=reason, message=message, result=result, inputs=report.inputs, ours=not same
    )


def because(told: Outcome, reason: Reason, pod: Pod | None) -> Outcome:
    """The same end, with the cause that the agent could not know: who stopped the pod."""
    if reason is told.reason:
        return told
    said = pod.message if pod and pod.message else ""
    result = _as_failure(told.result, reason, said)
    return replace(told, reason=reason, message=result.message, result=result, ours=True)


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
