"""Which failed attempts are retried, with how much memory, and when."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.decision.retry import (
    DISRUPTED,
    MAX_ATTEMPTS,
    MAX_UNCOUNTED,
    NON_RETRYABLE,
    RetryDecision,
    decide_retry,
    memory_limit,
    not_before,
    uncounted_used_up,
)
from nanogrid_operator.model.facts import Job
from support import strategies
from support.builders import CREATED, MIB, a_failed_result, a_job, a_result, an_attempt, retrying

COUNTED, NOT_COUNTED = RetryDecision(counted=True), RetryDecision(counted=False)
LIMIT = 256 * MIB


def on(*reasons: str, then: str, **more: Any) -> Json:
    return {"onReasons": list(reasons), "action": then, **more}


def codes(operator: str, *values: int, then: str) -> Json:
    return {"onExitCodes": {"operator": operator, "values": list(values)}, "action": then}


def more_memory(factor: str = "2", most: str | int = "1Gi") -> Json:
    return {"factor": factor, "max": most}


MORE = on("OOMKilled", then="RetryWithMoreMemory", memory=more_memory())


def a_policy(*rules: Json, backoff: Json | None = None, **spec: Any) -> Job:
    """A job with a failure policy; ``ended`` are its attempts so far."""
    ended = spec.pop("ended", [])
    policy: Json = {"rules": list(rules)} | ({"backoff": backoff} if backoff is not None else {})
    status = retrying(*ended) if ended else None
    return a_job(failurePolicy=policy, status=status, **spec)


def decision_after(
    job: Job,
    reason: str = "NonZeroExit",
    code: int | None = 3,
    limit: int | None = LIMIT,
    *,
    pod_stopped: bool = True,
) -> RetryDecision | None:
    result = a_failed_result(code, reason=reason, attempt=job.attempt)
    return decide_retry(job, result, limit, pod_stopped=pod_stopped)


# Rules.


@pytest.mark.parametrize(
    ("rules", "reason", "code", "want"),
    [
        ([on("NonZeroExit", then="FailJob")], "NonZeroExit", 3, None),
        ([on("NonZeroExit", then="Ignore")], "NonZeroExit", 3, NOT_COUNTED),
        ([on("NonZeroExit", then="Count")], "NonZeroExit", 3, COUNTED),
        ([on("Evicted", "NonZeroExit", then="FailJob")], "NonZeroExit", 3, None),
        ([on("Evicted", then="FailJob")], "NonZeroExit", 3, COUNTED),
        ([on("InputNotFound", then="Count")], "InputNotFound", None, COUNTED),
        ([on("PodRejected", then="Ignore")], "PodRejected", None, NOT_COUNTED),
        ([codes("In", 3, 4, then="FailJob")], "NonZeroExit", 3, None),
        ([codes("In", 4, then="FailJob")], "NonZeroExit", 3, COUNTED),
        ([codes("NotIn", 4, then="Ignore")], "NonZeroExit", 3, NOT_COUNTED),
        ([codes("NotIn", 3, then="Ignore")], "NonZeroExit", 3, COUNTED),
        ([codes("NotIn", 3, then="FailJob")], "OutputUploadFailed", 0, COUNTED),
        ([codes("NotIn", 3, then="FailJob")], "PodLost", None, NOT_COUNTED),
        ([codes("In", 143, then="Ignore")], "ExecutionTimeout", 143, NOT_COUNTED),
        ([codes("In", 3, then="Ignore"), on("NonZeroExit", then="FailJob")], "NonZeroExit", 3,
         NOT_COUNTED),
        ([on("NonZeroExit", then="FailJob"), codes("In", 3, then="Ignore")], "NonZeroExit", 3,
         None),
        ([on("NonZeroExit", then="FailJob"), on("NonZeroExit", then="Count")], "NonZeroExit", 3,
         None),
        ([], "NonZeroExit", 3, COUNTED),
    ],
    ids=[
        "fail", "ignore", "count", "one of several reasons", "no matching rule",
        "a rule for a non-retryable reason", "a rule for a rejection",
        "in", "not in the set", "notin", "in the set",
        "exit code 0 matches no set", "a missing code matches no set", "the code of a timeout",
        "first rule wins", "first rule wins in the other order", "two rules for one reason",
        "no rules",
    ],
)  # fmt: skip
def test_the_first_matching_rule_decides(
    rules: list[Json], reason: str, code: int | None, want: RetryDecision | None
) -> None:
    assert decision_after(a_policy(*rules, backoffLimit=1), reason, code) == want


@pytest.mark.parametrize("reason", ["Cancelled", "DeadlineExceeded"])
@pytest.mark.parametrize("then", ["Ignore", "Count"])
def test_no_rule_retries_a_job_that_must_end(reason: str, then: str) -> None:
    assert decision_after(a_policy(on(reason, then=then), backoffLimit=5), reason) is None


def test_the_action_ignore_needs_no_backoff_limit() -> None:
    assert decision_after(a_policy(on("Evicted", then="Ignore")), "Evicted", None) == NOT_COUNTED


def test_the_action_count_needs_a_backoff_limit() -> None:
    assert decision_after(a_policy(on("NonZeroExit", then="Count"))) is None


def test_no_rule_retries_a_success() -> None:
    job = a_policy(on("Completed", then="Ignore"), backoffLimit=5)

    assert decide_retry(job, a_result(), LIMIT, pod_stopped=True) is None


# Without rules.


@pytest.mark.parametrize("reason", sorted(set(Reason) - DISRUPTED - NON_RETRYABLE))
def test_other_failures_are_retried_and_counted(reason: Reason) -> None:
    assert decision_after(a_job(backoffLimit=1), reason.value) == COUNTED


@pytest.mark.parametrize("reason", sorted(DISRUPTED))
def test_failures_of_the_infrastructure_are_not_counted(reason: Reason) -> None:
    spent = [an_attempt(0), an_attempt(1)]

    assert (
        decision_after(a_job(backoffLimit=2, status=retrying(*spent)), reason.value) == NOT_COUNTED
    )


@pytest.mark.parametrize("reason", sorted(DISRUPTED))
def test_a_stop_counts_unless_the_pod_was_deleted(reason: Reason) -> None:
    """Code can bring about ``Terminated``, but it cannot delete its pod."""
    want = COUNTED if reason is Reason.TERMINATED else NOT_COUNTED

    assert decision_after(a_job(backoffLimit=1), reason.value, pod_stopped=False) == want


@pytest.mark.parametrize(
    ("uncounted", "used_up"),
    [
        (["Evicted"] * (MAX_UNCOUNTED - 1), False),
        (["Evicted"] * MAX_UNCOUNTED, True),
        (["Evicted", "OOMKilled"] * (MAX_UNCOUNTED // 2), True),
        (["Suspended"] * MAX_UNCOUNTED, False),
    ],
)
def test_retries_that_do_not_count_have_a_limit(uncounted: list[str], used_up: bool) -> None:
    ended = [an_attempt(n, reason, counted=False) for n, reason in enumerate(uncounted)]
    counted = [an_attempt(len(ended) + n) for n in range(5)]

    assert uncounted_used_up(a_job(status=retrying(*ended, *counted))) is used_up


@pytest.mark.parametrize("reason", sorted(NON_RETRYABLE))
def test_non_retryable_failures_end_the_job(reason: Reason) -> None:
    assert decision_after(a_job(backoffLimit=5), reason.value) is None


@pytest.mark.parametrize("reason", Reason)
def test_without_a_backoff_limit_every_failure_ends_the_job(reason: Reason) -> None:
    assert decision_after(a_job(), reason.value) is None


def test_no_reason_is_both_non_retryable_and_a_disruption() -> None:
    assert frozenset() == DISRUPTED & NON_RETRYABLE


@pytest.mark.parametrize(
    ("counted", "want"),
    [
        ([], COUNTED),
        ([True], COUNTED),
        ([True, False, False], COUNTED),
        ([True, True], None),
        ([True, False, True], None),
    ],
)
def test_only_counted_attempts_use_the_limit(
    counted: list[bool], want: RetryDecision | None
) -> None:
    ended = [an_attempt(n, counted=c) for n, c in enumerate(counted)]

    assert decision_after(a_job(backoffLimit=2, status=retrying(*ended))) == want


def test_the_number_of_attempts_is_bounded_even_if_none_counts() -> None:
    rule = on("Evicted", then="Ignore")
    last = an_attempt(MAX_ATTEMPTS - 2, "Evicted", counted=False)

    before = a_policy(rule, ended=[an_attempt(MAX_ATTEMPTS - 3, "Evicted", counted=False)])

    assert decision_after(before, "Evicted") == NOT_COUNTED
    assert decision_after(a_policy(rule, ended=[last]), "Evicted") is None


def test_a_reason_of_a_newer_agent_counts_like_any_failure() -> None:
    assert decision_after(a_job(backoffLimit=1), "QuotaOfTomorrow") == COUNTED


# Memory.


@pytest.mark.parametrize(
    ("memory", "limit", "want"),
    [
        (more_memory(), LIMIT, NOT_COUNTED),
        (more_memory("1.5", "257Mi"), LIMIT, NOT_COUNTED),
        (more_memory("2", "256Mi"), LIMIT, None),
        (more_memory("2", "128Mi"), LIMIT, None),
        (more_memory("1"), LIMIT, None),
        (more_memory(), 1024 * MIB, None),
        (more_memory("2", 1 << 30), LIMIT, NOT_COUNTED),
    ],
    ids=[
        "grows",
        "a little",
        "maximum equals",
        "maximum is less",
        "factor 1",
        "at the maximum",
        "a number",
    ],
)
def test_memory_grows_up_to_its_maximum(
    memory: Json, limit: int, want: RetryDecision | None
) -> None:
    job = a_policy(on("OOMKilled", then="RetryWithMoreMemory", memory=memory))

    assert decision_after(job, "OOMKilled", 137, limit) == want


@pytest.mark.parametrize(
    ("rules", "ended", "want"),
    [
        ([MORE], [], 256),
        ([MORE], ["OOMKilled"], 512),
        ([MORE], ["OOMKilled", "OOMKilled"], 1024),
        ([MORE], ["OOMKilled"] * 3, 1024),
        ([MORE], ["Evicted", "OOMKilled", "NonZeroExit"], 512),
        ([on("OOMKilled", then="Count"), MORE], ["OOMKilled"], 256),
        ([], ["OOMKilled"], 256),
        (
            [on("OOMKilled", then="RetryWithMoreMemory", memory=more_memory("1.5", "300Mi"))],
            ["OOMKilled"],
            300,
        ),
        (
            [on("OOMKilled", then="RetryWithMoreMemory", memory=more_memory("2", "64Mi"))],
            ["OOMKilled"],
            256,
        ),
    ],
)
def test_the_memory_of_an_attempt_follows_from_earlier_attempts(
    rules: list[Json], ended: list[str], want: int
) -> None:
    job = a_policy(*rules, ended=[an_attempt(n, why, exitCode=137) for n, why in enumerate(ended)])

    assert memory_limit(job, LIMIT) == want * MIB


@given(strategies.failure_policies, st.lists(st.sampled_from(["OOMKilled", "Evicted"])))
def test_memory_never_shrinks_and_never_exceeds_the_largest_maximum(
    policy: Json, ended: list[str]
) -> None:
    attempts = [an_attempt(n, why) for n, why in enumerate(ended)]
    job = a_job(failurePolicy=policy, status=retrying(*attempts))

    limits = [
        memory_limit(a_job(failurePolicy=policy, status=retrying(*attempts[:n])), LIMIT)
        for n in range(len(attempts) + 1)
    ]

    assert limits == sorted(limits)
    assert limits[0] == LIMIT
    assert limits[-1] == memory_limit(job, LIMIT) <= 1024 * MIB


@given(
    st.integers(1, 2**40),
    st.integers(1, 99),
    st.integers(0, 99),
    st.integers(1, 2**41),
)
def test_the_next_attempt_has_more_memory_or_does_not_happen(
    limit: int, whole: int, hundredths: int, most: int
) -> None:
    factor = f"{whole}.{hundredths:02}"
    rule = on("OOMKilled", then="RetryWithMoreMemory", memory=more_memory(factor, most))
    again = decision_after(a_policy(rule), "OOMKilled", 137, limit)

    after = memory_limit(a_policy(rule, ended=[an_attempt(0, "OOMKilled")]), limit)

    assert (after > limit) == (again is not None)
    assert after <= max(limit, most)
    assert after <= max(limit, int(Decimal(limit) * Decimal(factor)))


# The pause.


@pytest.mark.parametrize(
    ("backoff", "failures", "want"),
    [
        (None, 1, 1),
        (None, 2, 2),
        (None, 3, 4),
        (None, 7, 60),
        (None, 29, 60),
        ({"initialSeconds": 0}, 5, 0),
        ({"initialSeconds": 10, "factor": 3}, 2, 30),
        ({"initialSeconds": 10, "factor": 1}, 9, 10),
        ({"initialSeconds": 3600, "maxSeconds": 5}, 1, 5),
        ({"factor": 10, "maxSeconds": 86_400}, 29, 86_400),
    ],
)
def test_the_pause_grows_up_to_its_maximum(
    backoff: Json | None, failures: int, want: float
) -> None:
    ended = [an_attempt(n, age=100 * n) for n in range(failures)]

    job = a_policy(backoff=backoff, ended=ended, backoffLimit=10)

    assert not_before(job) == CREATED + 100 * (failures - 1) + want


def test_the_first_attempt_needs_no_pause() -> None:
    assert not_before(a_job()) == 0.0


def test_a_resumed_job_starts_at_once() -> None:
    ended = [an_attempt(0), an_attempt(1, "Suspended", age=500, counted=False)]

    assert not_before(a_job(status=retrying(*ended))) <= CREATED + 500


def test_suspensions_do_not_lengthen_the_pause() -> None:
    ended = [an_attempt(n, "Suspended", counted=False) for n in range(5)]

    assert not_before(a_job(status=retrying(*ended, an_attempt(5)))) == CREATED + 1


@given(strategies.failure_policies, st.integers(1, MAX_ATTEMPTS))
def test_a_pause_never_exceeds_its_maximum(policy: Json, failures: int) -> None:
    ended = [an_attempt(n) for n in range(failures)]
    job = a_job(failurePolicy=policy, status=retrying(*ended))
    assume(job.model is not None)
    most = (policy.get("backoff") or {}).get("maxSeconds", 60)

    assert CREATED <= not_before(job) <= CREATED + most
