"""The lines and requests that CloudWatch gets, checked against its rules."""

import json
from collections import Counter
from typing import Any
from urllib.parse import quote

import boto3
import jsonschema
import pytest
from botocore.validate import ParamValidator
from hypothesis import given
from hypothesis import strategies as st

from nanogrid.cloudwatch.rules import dimensions_problem, namespace_problem
from nanogrid.types import Json
from nanogrid_operator.delivery.cloudwatch import emf, put
from nanogrid_operator.delivery.cloudwatch.groups import Group, grouped
from nanogrid_operator.delivery.cloudwatch.samples import MAX_NUMBER, Sample, sample_of
from nanogrid_operator.delivery.cloudwatch.series import SeriesLimit
from support.builders import CREATED
from support.emf import document, documents
from support.function_builders import a_run_body

MINUTE = int(CREATED // 60 * 60)
NUMBERS = st.none() | st.integers(-1, 2**70) | st.floats() | st.sampled_from([0, MAX_NUMBER])
OWN = st.dictionaries(
    st.from_regex(r"[A-Za-z][A-Za-z0-9_.-]{0,63}", fullmatch=True),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=255),
    max_size=10,
).filter(lambda own: not dimensions_problem(own))
LONGEST_OWN = {f"D{n}".ljust(64, "x"): '"' * 255 for n in range(10)}


def samples(count: int, **changes: Any) -> list[Sample]:
    fields: Json = {
        "at": CREATED, "namespace": "team-a", "function": "report", "succeeded": True,
        "duration_millis": 312, "peak_memory_bytes": 40 << 20,
    }  # fmt: skip
    return [Sample(uid=f"run-{n}", **fields | changes) for n in range(count)]


def written(some: list[Sample], **own: str) -> list[Json]:
    return documents(b"".join(emf.lines(grouped(some, SeriesLimit(500)), "NanoGrid", own)))


def requested(some: list[Sample], **own: str) -> list[list[put.Datum]]:
    return list(put.requests(grouped(some, SeriesLimit(500)), own))


@st.composite
def ended_jobs(draw: st.DrawFn) -> list[Json]:
    """Jobs with any functionId and any numbers."""
    jobs = []
    for n in range(draw(st.integers(1, 8))):
        body = a_run_body(f"run-{n}", functionId=draw(st.text(max_size=200)))
        body["status"]["result"] |= {
            "durationMillis": draw(NUMBERS), "peakMemoryBytes": draw(NUMBERS),
        }  # fmt: skip
        jobs.append(body)
    return jobs


def all_samples(jobs: list[Json]) -> list[Sample]:
    found = [sample_of(job, CREATED) for job in jobs]
    return [sample for sample in found if sample is not None]


# Lines.


def test_a_line_has_metrics_units_and_dimensions() -> None:
    assert written(samples(1), Cluster="prod") == [
        {
            "_aws": {
                "Timestamp": MINUTE * 1000,
                "CloudWatchMetrics": [
                    {
                        "Namespace": "NanoGrid",
                        "Dimensions": [["Namespace", "Function", "Cluster"]],
                        "Metrics": [
                            {"Name": "Duration", "Unit": "Milliseconds"},
                            {"Name": "PeakMemory", "Unit": "Bytes"},
                            {"Name": "Succeeded", "Unit": "Count"},
                            {"Name": "Failed", "Unit": "Count"},
                        ],
                    }
                ],
            },
            "Namespace": "team-a",
            "Function": "report",
            "Cluster": "prod",
            "Duration": [312],
            "PeakMemory": [40 << 20],
            "Succeeded": [1],
            "Failed": [0],
        }
    ]


@pytest.mark.parametrize(("count", "sizes"), [(100, [100]), (101, [100, 1]), (250, [100, 100, 50])])
def test_a_line_has_at_most_a_hundred_jobs(count: int, sizes: list[int]) -> None:
    assert [len(d["Succeeded"]) for d in written(samples(count))] == sizes


def test_the_longest_line_is_not_split_by_a_container_runtime() -> None:
    name = "f" * 128
    some = samples(
        100, namespace="n" * 63, function=name,
        duration_millis=MAX_NUMBER, peak_memory_bytes=MAX_NUMBER,
    )  # fmt: skip
    assert not dimensions_problem(LONGEST_OWN)
    groups = grouped(some, SeriesLimit(500))

    (line,) = emf.lines(groups, "N" * 255, LONGEST_OWN)

    assert document(line.rstrip(b"\n"))["Function"] == name
    assert len(line) < 16 * 1024


@given(ended_jobs(), OWN)
def test_whatever_jobs_are_called_and_measure_each_line_is_a_document(
    jobs: list[Json], own: dict[str, str]
) -> None:
    found = written(all_samples(jobs), **own)

    assert sum(len(d["Failed"]) for d in found) == len(jobs)


@pytest.mark.parametrize(
    "change",
    [
        {"Timestamp": MINUTE},
        {"CloudWatchMetrics": []},
        {"CloudWatchMetrics": [{"Namespace": "", "Dimensions": [[]], "Metrics": []}]},
    ],
)
def test_the_rules_refuse_what_is_no_document(change: Json) -> None:
    (good,) = written(samples(1))
    bad = good | {"_aws": good["_aws"] | change}

    with pytest.raises(jsonschema.ValidationError):
        document(json.dumps(bad).encode())


# Requests.


def input_shape() -> Any:
    client: Any = boto3.client(
        "cloudwatch", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x"
    )
    return client.meta.service_model.operation_model("PutMetricData").input_shape


SHAPE = input_shape()


def form_bytes(batch: list[put.Datum]) -> int:
    """The size of a request in the form-encoded protocol."""
    size = 0
    for number, datum in enumerate(batch, 1):
        prefix = f"MetricData.member.{number}."
        texts = {"MetricName": datum["MetricName"], "Unit": datum["Unit"],
                 "Timestamp": datum["Timestamp"].isoformat()}  # fmt: skip
        for index, one in enumerate(datum["Dimensions"], 1):
            texts |= {f"Dimensions.member.{index}.{key}": value for key, value in one.items()}
        for name in ("Values", "Counts"):
            texts |= {f"{name}.member.{i}": repr(v) for i, v in enumerate(datum[name], 1)}
        size += sum(
            len(prefix) + len(key) + len(quote(text, safe="")) + 2 for key, text in texts.items()
        )
    return size


def check(batches: list[list[put.Datum]]) -> None:
    for batch in batches:
        report = ParamValidator().validate({"Namespace": "NanoGrid", "MetricData": batch}, SHAPE)
        assert not report.has_errors(), report.generate_report()
        assert 0 < len(batch) <= 1000
        assert form_bytes(batch) < 1_000_000
        for datum in batch:
            assert 0 < len(datum["Values"]) == len(datum["Counts"]) <= 150
            assert all(abs(v) < 2.0**360 for v in datum["Values"])


def total(batches: list[list[put.Datum]], metric: str) -> Counter[float]:
    """How often each value is there."""
    found: Counter[float] = Counter()
    for batch in batches:
        for datum in batch:
            if datum["MetricName"] == metric:
                found.update(dict(zip(datum["Values"], datum["Counts"], strict=True)))
    return found


def test_equal_values_are_one_value_with_a_count() -> None:
    some = [*samples(3), *samples(1, succeeded=False, duration_millis=5)]
    batches = requested(some, Cluster="prod")

    check(batches)
    ((duration, _, _, failed),) = batches
    assert duration["Dimensions"] == [
        {"Name": "Namespace", "Value": "team-a"},
        {"Name": "Function", "Value": "report"},
        {"Name": "Cluster", "Value": "prod"},
    ]
    assert (duration["Values"], duration["Counts"]) == ([5.0, 312.0], [1.0, 3.0])
    assert (failed["MetricName"], failed["Values"], failed["Counts"]) == (
        "Failed", [0.0, 1.0], [3.0, 1.0],
    )  # fmt: skip
    assert duration["Timestamp"].timestamp() == MINUTE


def test_many_different_values_are_split() -> None:
    some = [s for n in range(400) for s in samples(1, duration_millis=n)]
    batches = requested(some)

    check(batches)
    assert total(batches, "Duration") == Counter({float(n): 1 for n in range(400)})
    assert total(batches, "Succeeded") == {1.0: 400}


def test_a_full_queue_of_functions_fits_into_few_requests() -> None:
    some = [
        s for n in range(10_000)
        for s in samples(1, function=f"f{n % 700}", namespace=f"team-{n % 9}", duration_millis=n)
    ]  # fmt: skip
    batches = requested(some, **LONGEST_OWN)

    check(batches)
    assert len(batches) < 40
    assert total(batches, "Duration") == Counter({float(n): 1 for n in range(10_000)})
    assert len({json.dumps(d["Dimensions"]) for b in batches for d in b}) == 501


@given(ended_jobs(), OWN)
def test_whatever_jobs_are_called_and_measure_each_request_is_valid(
    jobs: list[Json], own: dict[str, str]
) -> None:
    batches = requested(all_samples(jobs), **own)

    check(batches)
    assert sum(total(batches, "Failed").values()) == len(jobs)


def test_without_jobs_nothing_is_sent() -> None:
    nothing: list[Group] = []

    assert list(put.requests(nothing, {})) == list(emf.lines(nothing, "NanoGrid", {})) == []


# Names that an installation chooses.


@pytest.mark.parametrize("name", ["NanoGrid", "team/NanoGrid", "a:b#c_d.e-f", "N" * 255])
def test_a_namespace_of_metrics(name: str) -> None:
    assert namespace_problem(name) == ""


@pytest.mark.parametrize("name", ["", ":a", "AWS/NanoGrid", "a b", "한", "a\n", "N" * 256])
def test_no_namespace_of_metrics(name: str) -> None:
    assert namespace_problem(name)


@pytest.mark.parametrize(
    "own",
    [
        {"Function": "x"}, {"Duration": "x"}, {"_aws": "x"}, {"": "x"}, {"a b": "x"}, {"a": ""},
        {"a": " "}, {"a": ":x"}, {"a": "é"}, {"a": "x\n"}, {"a": "x" * 256},
        {f"d{n}": "x" for n in range(11)},
    ],
)  # fmt: skip
def test_dimensions_that_cloudwatch_or_the_lines_cannot_have(own: dict[str, str]) -> None:
    assert dimensions_problem({"Cluster": "prod"}) == ""
    assert dimensions_problem(own)
