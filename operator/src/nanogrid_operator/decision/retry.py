"""Whether another attempt follows a failed one, with how much memory, and when. Pure.

Field names and meaning follow batch/v1 Job: the first rule that matches decides. Without rules,
three cases remain. Failures of the infrastructure (eviction, preemption, a lost node) are retried
without counting if ``backoffLimit`` allows any retry. Failures that may not happen again are
retried and counted. Failures that cannot change (invalid input, a wrong spec) end the job at once.
Retries that do not count have a limit of their own, ``MAX_UNCOUNTED``.
"""

from dataclasses import dataclass
from decimal import Decimal

from nanogrid import wire
from nanogrid.api.runtime import Backoff, FailureRule
from nanogrid.quantity import quantity
from nanogrid.reasons import NOT_STARTABLE, Reason
from nanogrid_operator.decision.outcome import known_reason
from nanogrid_operator.model.facts import Job

MAX_ATTEMPTS = 30  # for all rules: status.attempts is bounded
MAX_UNCOUNTED = 10  # of a job: nothing that code can cause may give it attempts without a limit

DISRUPTED = frozenset(
    {Reason.EVICTED, Reason.PREEMPTED, Reason.NODE_LOST, Reason.POD_LOST, Reason.TERMINATED}
)
NON_RETRYABLE = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.NAME_CONFLICT,
        Reason.POD_REJECTED,
        Reason.CANCELLED,
        Reason.DEADLINE_EXCEEDED,
        Reason.RESULT_MISMATCH,
        Reason.RESULT_UNREADABLE,  # the code may have run to its end
        Reason.RUNTIME_INVALID,
        *NOT_STARTABLE,
        Reason.INPUT_NOT_FOUND,
        Reason.INPUT_ACCESS_DENIED,
        Reason.INPUT_TOO_LARGE,
        Reason.CHECKSUM_MISMATCH,
        Reason.PATH_CONFLICT,
        Reason.UNSAFE_PATH,
        Reason.INPUT_ARCHIVED,
        Reason.ENCRYPTION_KEY_REFUSED,
        Reason.STORAGE_MISCONFIGURED,
        Reason.EMPTY_ARCHIVE,
        Reason.CORRUPT_ARCHIVE,
        Reason.UNSAFE_ARCHIVE,
        Reason.ARCHIVE_TOO_LARGE,
    }
)


@dataclass(frozen=True, slots=True)
class RetryDecision:
    """Another attempt follows; ``counted`` tells whether this one counts towards backoffLimit."""

    counted: bool


def decide_retry(
    job: Job, result: wire.Result, limit: int | None, *, pod_stopped: bool
) -> RetryDecision | None:
    """Whether another attempt follows one that ended with this result; None: the job ends.

    ``limit`` is the memory limit that the attempt had, in bytes. ``pod_stopped``: whether the
    attempt's pod was deleted or evicted. Without that, ``Terminated`` is no disruption: the pod's
    own code may have caused it.
    """
    reason = known_reason(result)
    if result.status == wire.STATUS_SUCCESS or job.attempt + 1 >= MAX_ATTEMPTS:
        return None
    if reason in (Reason.CANCELLED, Reason.DEADLINE_EXCEEDED):
        return None
    rule = _rule(job, reason.value, result.exit_code)
    action = rule.action if rule else _default(job, reason, pod_stopped=pod_stopped)
    if action == "FailJob":
        return None
    if action == "Ignore":
        return RetryDecision(counted=False)
    if action == "RetryWithMoreMemory":
        assert rule is not None  # noqa: S101 the default is never this action
        grows = limit and _grown(limit, rule) > limit
        return RetryDecision(counted=False) if grows else None
    left = _limit(job) - sum(a.counted for a in job.attempts)
    return RetryDecision(counted=True) if left > 0 else None


def _limit(job: Job) -> int:
    return job.model.spec.backoff_limit if job.model else 0


def uncounted_used_up(job: Job) -> bool:
    """Whether no further retry may go without counting. A suspension is the user's own wish."""
    uncounted = [a for a in job.attempts if not a.counted and a.reason != Reason.SUSPENDED]
    return len(uncounted) >= MAX_UNCOUNTED


def _default(job: Job, reason: Reason, *, pod_stopped: bool) -> str:
    if reason in NON_RETRYABLE or _limit(job) == 0:
        return "FailJob"
    disrupted = reason in DISRUPTED and (pod_stopped or reason is not Reason.TERMINATED)
    return "Ignore" if disrupted else "Count"


def _rule(job: Job, reason: str, exit_code: int | None) -> FailureRule | None:
    policy = job.model.spec.failure_policy if job.model else None
    for rule in policy.rules if policy else []:
        if rule.on_reasons is not None and reason in rule.on_reasons:
            return rule
        codes = rule.on_exit_codes
        # As in batch/v1: exit code 0 is not a failure, and a missing code matches no rule.
        if codes and exit_code and (exit_code in codes.values) == (codes.operator == "In"):
            return rule
    return None


def _grown(limit: int, rule: FailureRule) -> int:
    assert rule.memory is not None  # noqa: S101 the CRD requires it
    wanted = int(Decimal(limit) * Decimal(rule.memory.factor))
    return min(wanted, int(quantity(rule.memory.max)))


def memory_limit(job: Job, base: int) -> int:
    """The current attempt's memory limit in bytes: the base, grown by the rules so far."""
    limit = base
    for attempt in job.attempts:
        rule = _rule(job, attempt.reason, attempt.exit_code)
        if rule and rule.action == "RetryWithMoreMemory":
            limit = max(limit, _grown(limit, rule))
    return limit


def not_before(job: Job) -> float:
    """When the next attempt may start, in seconds since the epoch."""
    if not job.attempts or job.model is None:
        return 0.0
    last = job.attempts[-1]
    if last.reason == Reason.SUSPENDED:
        return 0.0
    policy = job.model.spec.failure_policy
    backoff = (policy and policy.backoff) or Backoff()
    failures = sum(a.reason != Reason.SUSPENDED for a in job.attempts)
    growth: int = backoff.factor ** (failures - 1)
    pause = min(backoff.longest_seconds, backoff.initial_seconds * growth)
    return (last.ended or 0.0) + pause
