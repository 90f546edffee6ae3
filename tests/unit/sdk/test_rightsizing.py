"""The recommended memory limit: never below the need of a run, never from too few runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.quantity import quantity
from nanogrid.rightsizing import (
    LEAST_RUNS,
    Advice,
    MeasuredRun,
    measured,
    nice_limit,
    percentile,
    recommend,
)
from nanogrid.sizes import MIB

LIMIT = 256 * MIB


def run(peak_mb: int | None = 40, *, limit_mb: int | None = 256, **how: bool) -> MeasuredRun:
    """A run with a peak and a limit in Mi."""
    peak = None if peak_mb is None else peak_mb * MIB
    limit = None if limit_mb is None else limit_mb * MIB
    return MeasuredRun(peak_bytes=peak, limit_bytes=limit, **how)


def killed(limit_mb: int | None) -> MeasuredRun:
    return run(limit_mb, limit_mb=limit_mb, succeeded=False, oom_killed=True)


def failed(peak_mb: int) -> MeasuredRun:
    return run(peak_mb, succeeded=False)


@pytest.mark.parametrize(
    ("runs", "memory", "based_on", "p95_mb"),
    [
        ([run(40)] * 5, "64Mi", 5, 40),
        ([run(n) for n in (10, 20, 30, 40, 100)], "144Mi", 5, 100),
        # One of 50 runs may exceed the limit; one of ten may not.
        ([run(1000), *[run(40)] * 49], "64Mi", 50, 40),
        ([run(1000), *[run(40)] * 9], "1408Mi", 10, 1000),
        ([run(1575)] * 5, "2Gi", 5, 1575),
        # A failure does not show the need. A kill shows that the need is above the limit.
        ([failed(900), *[run(40)] * 5], "64Mi", 5, 40),
        ([killed(64), *[run(40)] * 4], "128Mi", 5, 64),
        ([killed(64), *[run(40)] * 49], "128Mi", 50, 40),
        ([killed(64), *[run(200)] * 9], "288Mi", 10, 200),
        ([run(None), *[run(40)] * 5], "64Mi", 5, 40),
    ],
)
def test_advice_is_above_the_95th_percentile_and_twice_the_limit_of_each_oom_kill(
    runs: list[MeasuredRun], memory: str, based_on: int, p95_mb: int
) -> None:
    advice = recommend(runs)

    assert advice is not None
    assert (advice.memory, advice.based_on) == (memory, based_on)
    assert advice.p95_peak_bytes == p95_mb * MIB
    assert advice.memory_bytes == quantity(memory)


@pytest.mark.parametrize(
    "runs",
    [
        [],
        [run(40)] * (LEAST_RUNS - 1),
        [run(None)] * 20,
        [failed(40)] * 20,
        [killed(None)] * 20,
        [*[run(40)] * (LEAST_RUNS - 1), failed(40)],
    ],
)
def test_too_few_measured_runs_give_no_advice(runs: list[MeasuredRun]) -> None:
    assert recommend(runs) is None


def test_the_current_limit_is_from_the_newest_run_with_a_limit() -> None:
    runs = [run(limit_mb=None), run(limit_mb=128), *[run(limit_mb=64)] * 4]
    advice = recommend([*runs, killed(32)])

    assert advice == Advice(
        memory="64Mi",
        memory_bytes=64 * MIB,
        based_on=7,
        p95_peak_bytes=40 * MIB,
        current_limit_bytes=128 * MIB,
        oom_kills=1,
    )


@given(
    st.lists(
        st.builds(
            MeasuredRun,
            peak_bytes=st.none() | st.integers(0, 1 << 40),
            limit_bytes=st.none() | st.integers(1, 1 << 40),
            succeeded=st.booleans(),
            oom_killed=st.booleans(),
        ),
        max_size=60,
    )
)
def test_all_advice_has_room_above_the_peak_and_is_a_valid_quantity(
    runs: list[MeasuredRun],
) -> None:
    advice = recommend(runs)

    if advice is None:
        assert sum(r.known_bytes is not None for r in runs) < LEAST_RUNS
        return
    assert quantity(advice.memory) == advice.memory_bytes
    assert advice.memory_bytes >= advice.p95_peak_bytes * 1.3
    assert all(advice.memory_bytes >= 2 * (r.known_bytes or 0) for r in runs if r.oom_killed)
    assert advice == recommend(runs), "the same runs give the same advice"


@given(st.lists(st.integers(0, 1 << 50), min_size=1, max_size=200), st.integers(1, 100))
def test_a_percentile_is_a_value_that_its_share_does_not_exceed(
    values: list[int], share: int
) -> None:
    found = percentile(values, share)

    assert found in values
    assert sum(v <= found for v in values) * 100 >= share * len(values)
    assert sum(v < found for v in values) * 100 < share * len(values)


def test_a_percentile_of_no_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 95)


@given(st.integers(0, 1 << 45))
def test_a_nice_size_is_at_most_an_eighth_larger(count: int) -> None:
    size = nice_limit(count)

    assert count <= size
    assert size <= count + max(16 * MIB, count / 8)


def status(**result: object) -> dict[str, object]:
    found = {"status": "SUCCESS", "reason": "Completed", "peakMemoryBytes": 5, **result}
    return {"phase": "Succeeded", "result": found, "attempts": [{}, {"memoryLimit": "256Mi"}]}


def test_measured_reads_the_last_attempt_of_a_job() -> None:
    assert measured(status()) == MeasuredRun(peak_bytes=5, limit_bytes=LIMIT)
    assert measured(status(status="FAILED", reason="OOMKilled")) == MeasuredRun(
        peak_bytes=5, limit_bytes=LIMIT, succeeded=False, oom_killed=True
    )
    assert measured(status(peakMemoryBytes=None) | {"attempts": []}) == MeasuredRun(peak_bytes=None)
    assert measured({"phase": "Running"}) is None
