"""Which failed attempts are tried again, with how much memory, and when."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from nanogrid.reasons import Reason
from nanogrid_operator.facts import Job
from nanogrid_operator.retry import (
    DISRUPTED,
    HOPELESS,
    MAX_ATTEMPTS,
    Verdict,
    memory_limit,
    not_before,
    verdict,
)
from unit import strategies
from unit.builders import (
    CREATED,
    MIB,
    Json,
    a_failed_result,
    a_job,
    a_result,
    an_attempt,
    retrying,
)

COUNTED, NOT_COUNTED = Verdict(counted=True), Verdict(counted=False)
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


def judged(
    job: Job, reason: str = "NonZeroExit", code: int | None = 3, limit: int | None = LIMIT
) -> Verdict | None:
    return verdict(job, a_failed_result(code, reason=reason, attempt=job.attempt), limit)


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
        "fail", "ignore", "count", "one of several reasons", "no rule fits",
        "a hopeless one on demand", "a refusal on demand", "in", "not in the set", "notin",
        "in the set", "exit code 0 fits no set", "no exit code fits no set", "a timeout's code",
        "first rule wins", "also the other way round", "of two for one reason", "no rules",
    ],
)  # fmt: skip
def test_the_first_rule_that_fits_decides(
    rules: list[Json], reason: str, code: int | None, want: Verdict | None
) -> None:
    assert judged(a_policy(*rules, backoffLimit=1), reason, code) == want


@pytest.mark.parametrize("reason", ["Cancelled", "DeadlineExceeded"])
@pytest.mark.parametrize("then", ["Ignore", "Count"])
def test_no_rule_goes_on_with_a_job_that_is_to_end(reason: str, then: str) -> None:
    assert judged(a_policy(on(reason, then=then), backoffLimit=5), reason) is None


def test_a_rule_that_ignores_needs_no_limit() -> None:
    assert judged(a_policy(on("Evicted", then="Ignore")), "Evicted", None) == NOT_COUNTED


def test_a_rule_that_counts_does() -> None:
    assert judged(a_policy(on("NonZeroExit", then="Count"))) is None


def test_a_success_is_not_tried_again_whatever_the_rules() -> None:
    job = a_policy(on("Completed", then="Ignore"), backoffLimit=5)

    assert verdict(job, a_result(), LIMIT) is None


# Without rules.


@pytest.mark.parametrize("reason", sorted(set(Reason) - DISRUPTED - HOPELESS))
def test_what_may_go_better_next_time_counts(reason: Reason) -> None:
    assert judged(a_job(backoffLimit=1), reason.value) == COUNTED


@pytest.mark.parametrize("reason", sorted(DISRUPTED))
def test_what_the_infrastructure_did_does_not(reason: Reason) -> None:
    spent = [an_attempt(0), an_attempt(1)]

    assert judged(a_job(backoffLimit=2, status=retrying(*spent)), reason.value) == NOT_COUNTED


@pytest.mark.parametrize("reason", sorted(HOPELESS))
def test_what_cannot_go_better_is_the_end(reason: Reason) -> None:
    assert judged(a_job(backoffLimit=5), reason.value) is None


@pytest.mark.parametrize("reason", Reason)
def test_without_a_limit_everything_is_the_end(reason: Reason) -> None:
    assert judged(a_job(), reason.value) is None


def test_no_reason_is_both_hopeless_and_somebody_elses_doing() -> None:
    assert frozenset() == DISRUPTED & HOPELESS


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
def test_the_limit_is_for_what_counted(counted: list[bool], want: Verdict | None) -> None:
    ended = [an_attempt(n, counted=c) for n, c in enumerate(counted)]

    assert judged(a_job(backoffLimit=2, status=retrying(*ended))) == want


def test_there_is_a_last_attempt_even_if_nothing_counts() -> None:
    rule = on("Evicted", then="Ignore")
    last = an_attempt(MAX_ATTEMPTS - 2, "Evicted", counted=False)

    before = a_policy(rule, ended=[an_attempt(MAX_ATTEMPTS - 3, "Evicted", counted=False)])

    assert judged(before, "Evicted") == NOT_COUNTED
    assert judged(a_policy(rule, ended=[last]), "Evicted") is None


def test_a_reason_of_a_newer_agent_counts_like_any_failure() -> None:
    assert judged(a_job(backoffLimit=1), "QuotaOfTomorrow") == COUNTED


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
    ids=["grows", "a little", "at most", "less than it had", "factor 1", "had it", "a number"],
)
def test_memory_grows_up_to_its_bound(memory: Json, limit: int, want: Verdict | None) -> None:
    job = a_policy(on("OOMKilled", then="RetryWithMoreMemory", memory=memory))

    assert judged(job, "OOMKilled", 137, limit) == want


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
def test_an_attempt_has_the_memory_that_those_before_it_asked_for(
    rules: list[Json], ended: list[str], want: int
) -> None:
    job = a_policy(*rules, ended=[an_attempt(n, why, exitCode=137) for n, why in enumerate(ended)])

    assert memory_limit(job, LIMIT) == want * MIB


@given(strategies.failure_policies, st.lists(st.sampled_from(["OOMKilled", "Evicted"])))
def test_memory_never_shrinks_and_never_passes_the_largest_bound(
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
def test_the_next_attempt_has_more_or_there_is_none(
    limit: int, whole: int, hundredths: int, most: int
) -> None:
    factor = f"{whole}.{hundredths:02}"
    rule = on("OOMKilled", then="RetryWithMoreMemory", memory=more_memory(factor, most))
    again = judged(a_policy(rule), "OOMKilled", 137, limit)

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
def test_the_pause_grows_up_to_its_bound(backoff: Json | None, failures: int, want: float) -> None:
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
def test_a_pause_is_never_longer_than_its_bound(policy: Json, failures: int) -> None:
    ended = [an_attempt(n) for n in range(failures)]
    job = a_job(failurePolicy=policy, status=retrying(*ended))
    assume(job.model is not None)
    most = (policy.get("backoff") or {}).get("maxSeconds", 60)

    assert CREATED <= not_before(job) <= CREATED + most
