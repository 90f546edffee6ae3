"""Whether a failed attempt is followed by another, with how much memory, and when. Pure.

Field names and meaning follow batch/v1 Job: rules are read in order, the first that fits wins.
Without rules, what the infrastructure did (eviction, preemption, a lost node) is tried again
without counting as soon as ``backoffLimit`` allows any retry; everything that may go better next
time counts; what cannot change (invalid input, a wrong spec) ends the job at once.
"""

from dataclasses import dataclass
from decimal import Decimal

from nanogrid import wire
from nanogrid.quantity import quantity
from nanogrid.reasons import Reason
from nanogrid.spec_run import Backoff, FailureRule
from nanogrid_operator.facts import Job
from nanogrid_operator.outcome import known_reason

MAX_ATTEMPTS = 30  # whatever the rules say: status.attempts is bounded

DISRUPTED = frozenset(
    {Reason.EVICTED, Reason.PREEMPTED, Reason.NODE_LOST, Reason.POD_LOST, Reason.TERMINATED}
)
HOPELESS = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.NAME_CONFLICT,
        Reason.POD_REJECTED,
        Reason.CANCELLED,
        Reason.DEADLINE_EXCEEDED,
        Reason.RESULT_MISMATCH,
        Reason.RESULT_UNREADABLE,  # the code may well have run to its end
        Reason.RUNTIME_INVALID,
        Reason.ENTRYPOINT_NOT_FOUND,
        Reason.INPUT_NOT_FOUND,
        Reason.INPUT_ACCESS_DENIED,
        Reason.INPUT_TOO_LARGE,
        Reason.CHECKSUM_MISMATCH,
        Reason.PATH_CONFLICT,
        Reason.UNSAFE_PATH,
        Reason.EMPTY_ARCHIVE,
        Reason.CORRUPT_ARCHIVE,
        Reason.UNSAFE_ARCHIVE,
        Reason.ARCHIVE_TOO_LARGE,
    }
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Try again; ``counted`` towards backoffLimit or not."""

    counted: bool


def verdict(job: Job, result: wire.Result, limit: int | None) -> Verdict | None:
    """Whether the attempt that ended with this result, and had this memory, is tried again."""
    reason = known_reason(result)
    if result.status == wire.STATUS_SUCCESS or job.attempt + 1 >= MAX_ATTEMPTS:
        return None
    if reason in (Reason.CANCELLED, Reason.DEADLINE_EXCEEDED):
        return None
    rule = _rule(job, reason.value, result.exit_code)
    action = rule.action if rule else _default(job, reason)
    if action == "FailJob":
        return None
    if action == "Ignore":
        return Verdict(counted=False)
    if action == "RetryWithMoreMemory":
        assert rule is not None  # noqa: S101 the default never answers that
        return Verdict(counted=False) if limit and _grown(limit, rule) > limit else None
    left = _limit(job) - sum(a.counted for a in job.attempts)
    return Verdict(counted=True) if left > 0 else None


def _limit(job: Job) -> int:
    return job.model.spec.backoff_limit if job.model else 0


def _default(job: Job, reason: Reason) -> str:
    if reason in HOPELESS or _limit(job) == 0:
        return "FailJob"
    return "Ignore" if reason in DISRUPTED else "Count"


def _rule(job: Job, reason: str, exit_code: int | None) -> FailureRule | None:
    policy = job.model.spec.failure_policy if job.model else None
    for rule in policy.rules if policy else []:
        if rule.on_reasons is not None and reason in rule.on_reasons:
            return rule
        codes = rule.on_exit_codes
        # As in batch/v1: exit code 0 is no failure, and no code at all fits no set of codes.
        if codes and exit_code and (exit_code in codes.values) == (codes.operator == "In"):
            return rule
    return None


def _grown(limit: int, rule: FailureRule) -> int:
    assert rule.memory is not None  # noqa: S101 the CRD asks for it
    wanted = int(Decimal(limit) * Decimal(rule.memory.factor))
    return min(wanted, int(quantity(rule.memory.max)))


def memory_limit(job: Job, base: int) -> int:
    """The present attempt's memory limit in bytes: the base, grown as the rules said so far."""
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
    pause = min(backoff.max_seconds, backoff.initial_seconds * growth)
    return (last.ended or 0.0) + pause
