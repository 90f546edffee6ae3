"""What CloudWatch gets of an ended job, under which of a bounded number of names."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.types import Json
from nanogrid_operator.delivery.cloudwatch.groups import grouped
from nanogrid_operator.delivery.cloudwatch.samples import Sample, sample_of
from nanogrid_operator.delivery.cloudwatch.series import IDLE_SECONDS, SeriesLimit
from support.builders import CREATED, a_job_body
from support.function_builders import a_function_job, a_labelled_run, a_run_body


def a_sample(
    uid: str = "run-1", *, at: float = CREATED, function: str = "report", **changes: Any
) -> Sample:
    """A run that succeeded, 312 ms with 40 MiB."""
    fields: Json = {
        "uid": uid, "at": at, "namespace": "team-a", "function": function, "succeeded": True,
        "duration_millis": 312, "peak_memory_bytes": 40 << 20,
    }  # fmt: skip
    return Sample(**fields | changes)


def sampled(job: Json) -> Sample:
    found = sample_of(job, CREATED)
    assert found is not None
    return found


def with_result(**result: Any) -> Json:
    job = a_labelled_run()
    job["status"]["result"] |= result
    return job


def test_a_run_has_duration_memory_and_success_by_function() -> None:
    assert sampled(a_labelled_run()) == a_sample()


def test_a_failed_run_has_its_measurements_too() -> None:
    failed = sampled(a_labelled_run(status="TIMEOUT", reason="DeadlineExceeded"))

    assert failed == a_sample(succeeded=False)


def test_code_that_never_ran_has_no_duration() -> None:
    job = with_result(exitCode=None, durationMillis=0, peakMemoryBytes=None)

    assert sampled(job) == a_sample(duration_millis=None, peak_memory_bytes=None)


def test_a_job_without_a_result_still_counts() -> None:
    job = a_function_job(status={"phase": "Failed", "reason": "InvalidSpec"})
    found = sampled(job)

    assert (found.succeeded, found.duration_millis, found.peak_memory_bytes) == (False, None, None)


@pytest.mark.parametrize(
    "job",
    [
        a_job_body(),
        a_job_body(status={"phase": "Running"}),
        a_job_body(status={"phase": "Failed", "reason": "Cancelled"}),
    ],
)
def test_jobs_that_run_or_were_cancelled_do_not_count(job: Json) -> None:
    assert sample_of(job, CREATED) is None


@pytest.mark.parametrize(
    ("job", "function"),
    [
        (a_function_job(), "report"),
        (a_labelled_run(), "report"),
        (a_run_body(functionId="Old.Function_7"), "Old.Function_7"),
        (a_run_body(), "_none"),
        (a_run_body(functionId=""), "_none"),
        (a_run_body(mode="Session"), "_session"),
        (a_run_body(mode="Session", functionId="f"), "_session"),
        (a_run_body(functionId="_none"), "_other"),
        (a_run_body(functionId=":colon"), "_other"),
        (a_run_body(functionId="판매"), "_other"),
        (a_run_body(functionId='f"}\n{'), "_other"),
        (a_run_body(functionId="f" * 129), "_other"),
    ],
)
def test_the_function_is_a_name_or_a_word_that_no_name_can_be(job: Json, function: str) -> None:
    job["status"] = {"phase": "Succeeded"}

    assert sampled(job).function == function


@pytest.mark.parametrize("value", [-1, 2**53 + 1, float("nan"), float("inf"), True, "7", None, []])
def test_what_is_no_measured_number_is_left_out(value: Any) -> None:
    found = sampled(with_result(durationMillis=value, peakMemoryBytes=value))

    assert (found.duration_millis, found.peak_memory_bytes) == (None, None)


# How many names.


def test_functions_above_the_limit_share_one_name() -> None:
    limit = SeriesLimit(10)
    first = {limit.pair(f"team-{n}", "f", CREATED) for n in range(10)}

    assert first == {(f"team-{n}", "f") for n in range(10)}
    assert limit.pair("team-0", "f", CREATED) == ("team-0", "f"), "a known one stays"
    assert limit.pair("team-0", "g", CREATED) == ("_other", "_other")
    assert limit.pair("team-99", "_none", CREATED) == ("_other", "_other")


@pytest.mark.security
def test_one_namespace_cannot_take_the_names_of_all() -> None:
    limit = SeriesLimit(500)
    greedy = {limit.pair("greedy", f"f{n}", CREATED) for n in range(5000)}

    assert len(greedy) == 101
    assert ("greedy", "_other") in greedy
    assert limit.pair("team-a", "report", CREATED) == ("team-a", "report")


def test_a_name_that_is_not_used_for_an_hour_makes_room() -> None:
    limit = SeriesLimit(5)
    pairs = [limit.pair(f"team-{n}", "f", CREATED + n) for n in range(5)]
    later = CREATED + IDLE_SECONDS

    assert limit.pair("new", "f", later - 1) == ("_other", "_other")
    assert limit.pair("new", "f", later) == ("new", "f")
    assert limit.pair(*pairs[4], later) == pairs[4]
    assert limit.pair(*pairs[0], later) == ("_other", "_other"), "its place is taken"
    assert limit.pair(*pairs[0], later + IDLE_SECONDS + 1) == pairs[0]


NAMES = st.tuples(st.sampled_from("abcdef"), st.sampled_from([*map(str, range(40)), "_none"]))


@given(st.lists(st.tuples(NAMES, st.floats(0, 900))), st.integers(1, 30))
def test_no_hour_has_more_names_than_the_limit_and_one(
    jobs: list[tuple[tuple[str, str], float]], most: int
) -> None:
    limit, now = SeriesLimit(most), CREATED
    seen: list[tuple[float, tuple[str, str]]] = []
    for (namespace, function), pause in jobs:
        now += pause
        seen.append((now, limit.pair(namespace, function, now)))
        hour = {pair for at, pair in seen if at > now - IDLE_SECONDS}
        assert len(hour - {("_other", "_other")}) <= most


# Groups.


def test_samples_are_grouped_by_minute_and_function() -> None:
    minute = CREATED // 60 * 60
    samples = [
        a_sample("a", at=minute), a_sample("b", at=minute + 59.9, succeeded=False),
        a_sample("c", at=minute + 60), a_sample("d", at=minute, function="other"),
        a_sample("e", at=minute, namespace="team-b"),
    ]  # fmt: skip

    groups = grouped(samples, SeriesLimit(500))

    assert [(g.minute, g.namespace, g.function, len(g.samples)) for g in groups] == [
        (minute, "team-a", "other", 1), (minute, "team-a", "report", 2),
        (minute, "team-b", "report", 1), (minute + 60, "team-a", "report", 1),
    ]  # fmt: skip
    assert groups[1].values() == {
        "Duration": [312, 312], "PeakMemory": [40 << 20] * 2,
        "Succeeded": [1, 0], "Failed": [0, 1],
    }  # fmt: skip


def test_a_metric_without_values_is_left_out() -> None:
    (group,) = grouped([a_sample(duration_millis=None, peak_memory_bytes=None)], SeriesLimit(1))

    assert group.values() == {"Succeeded": [1], "Failed": [0]}


def test_thousands_of_functions_lose_no_job() -> None:
    samples = [
        a_sample(str(n), function=f"f{n}", namespace=f"team-{n % 60}", succeeded=n % 2 == 0)
        for n in range(5000)
    ]

    groups = grouped(samples, SeriesLimit(500))

    assert len(groups) == 501
    counted = Counter(s.uid for group in groups for s in group.samples)
    assert counted == Counter(str(n) for n in range(5000))
