"""From the end of a job or of a delivery to its span. Pure.

Attributes of spans have names, numbers and reasons, and nothing that a user wrote into the spec or
printed.
"""

from typing import Final

from nanogrid import names
from nanogrid.job_function import function_of
from nanogrid.traces.spans import Kind, Span, SpanEvent
from nanogrid.types import Json
from nanogrid_operator.decision.attempt_spans import NAME, Attributes, error_type
from nanogrid_operator.kube.objects import seconds
from nanogrid_operator.model.facts import Job
from nanogrid_operator.model.targets import REDIS
from nanogrid_operator.model.trace import JobTrace

DELETED: Final = "Deleted"  # the error of a job that was deleted before its end


def job_span(
    body: Json, job: Job, trace: JobTrace, reason: str, succeeded: bool, now: float
) -> Span:
    """The span of a whole job that ends now.

    Args:
        body: The job with its terminal status, or as it was when it was deleted.
        job: Its facts before the end.
        trace: Its trace.
        reason: Why it ended.
        succeeded: Whether it is Complete.
        now: Seconds since the epoch.
    """
    status = body.get("status") or {}
    function = function_of(body)
    attributes: Attributes = {
        "k8s.namespace.name": job.namespace,
        "nanogrid.job.name": job.name,
        "nanogrid.job.uid": job.uid,
        "nanogrid.job.mode": (body.get("spec") or {}).get("mode") or names.MODE_BATCH,
        "nanogrid.job.reason": reason,
        "nanogrid.job.attempts": len(status.get("attempts") or ()),
        "faas.invocation_id": status.get("requestId") or job.uid,
    }
    if function:
        attributes["faas.name"] = function
        version = (status.get("function") or {}).get("version")
        attributes |= {"faas.version": str(version)} if version is not None else {}
    return Span(
        name=NAME,
        context=trace.root,
        parent=trace.parent,
        start=min(job.created, now),
        end=now,
        kind=Kind.CONSUMER,
        attributes=attributes | ({} if succeeded else error_type(reason)),
        events=tuple(
            _retry(one, now) for one in status.get("attempts") or () if _retried(one, job)
        ),
        error="" if succeeded else reason,
    )


def _retried(attempt: Json, job: Job) -> bool:
    """Whether another attempt followed this one."""
    return int(attempt["number"]) < job.attempt


def _retry(attempt: Json, now: float) -> SpanEvent:
    return SpanEvent(
        name="nanogrid.retry",
        at=seconds(attempt.get("completionTime")) or now,
        attributes={
            "nanogrid.attempt": attempt["number"],
            "nanogrid.reason": attempt["reason"],
            "nanogrid.attempt.counted": bool(attempt.get("counted")),
        },
    )


def delivery_span(
    trace: JobTrace, target: str, start: float, end: float, *, error: str = "", tries: int = 1
) -> Span:
    """The span of a delivery of the result, also one after the job's end.

    Args:
        trace: The job's trace.
        target: redis, s3 or webhook.
        start: When the result was known, in seconds since the epoch.
        end: When the target had it, or had refused it for good.
        error: Why it was refused; empty if it was not.
        tries: Requests that it took, as far as they are counted.
    """
    attributes: Attributes = {
        "nanogrid.delivery.target": target,
        "nanogrid.delivery.tries": tries,
    }
    return Span(
        name=f"{NAME}.delivery",
        context=trace.delivery(target),
        parent=trace.root,
        start=min(start, end),
        end=end,
        kind=Kind.PRODUCER if target == REDIS else Kind.CLIENT,
        attributes=attributes | error_type(error),
        error=error,
    )
