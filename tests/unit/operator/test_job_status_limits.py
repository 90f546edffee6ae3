"""A status is valid and has at most 64 KiB, for any output of the code."""

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanogrid import wire
from nanogrid.reasons import Reason
from nanogrid.types import Json
from nanogrid_operator.decision.outcome import Delivery, failure
from nanogrid_operator.model.facts import job_facts
from nanogrid_operator.model.pod_facts import Pod
from nanogrid_operator.status.job import (
    final_status,
    retry_status,
)
from nanogrid_operator.status.shorten import first, head, tail
from support.builders import (
    JOB_UID,
    a_failed_result,
    a_job,
    a_job_body,
    a_pod,
    a_result,
    a_running_pod,
    an_attempt,
    ended,
    merge_patch,
    retrying,
)
from support.final_statuses import (
    DELIVERED,
    NOW,
    STATUS_CAP_BYTES,
    STATUS_SCHEMA,
    size,
    status_of,
)

pytestmark = pytest.mark.security

# What the API server accepts.

PATH = "결과/" + "가" * 200 + ".csv"


def _files(count: int) -> list[wire.OutputFile]:
    return [
        wire.OutputFile(
            path=f"{n}{PATH}",
            url=f"s3://user-data/outputs/{JOB_UID}/{n}{PATH}",
            bytes=1,
            sha256="ab" * 32,
            content_type="text/csv",
        )
        for n in range(count)
    ]


FLOODS = [
    pytest.param({"stdout": "x" * 65_536, "stderr": "y" * 65_536}, id="ascii"),
    pytest.param({"stdout": "값" * 21_000, "stderr": "값" * 21_000}, id="korean"),
    pytest.param({"stdout": "\x00" * 65_536, "stderr": "\x1b" * 65_536}, id="control characters"),
    pytest.param({"stdout": "😀" * 16_384, "stderr": "😀" * 16_384}, id="emoji"),
    pytest.param({"stdout": '"\\' * 32_768, "stderr": "\n" * 65_536}, id="escapes"),
    pytest.param(
        {"outputs": _files(3000), "output_files": [f.path for f in _files(3000)]},
        id="thousands of outputs",
    ),
    pytest.param({"message": "m" * 200_000}, id="message"),
]


@pytest.mark.parametrize("flood", FLOODS)
def test_large_output_gives_a_valid_status_of_at_most_64_kib(flood: Json) -> None:
    status = status_of(a_result(**flood), pod=a_running_pod())

    assert size(status) <= STATUS_CAP_BYTES
    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []


def test_a_truncated_stream_keeps_its_end_and_is_marked() -> None:
    status = status_of(a_result(stdout="x" * 65_536 + "the end"))

    assert status["result"]["stdout"].endswith("the end")
    assert status["result"]["stdoutTruncated"] is True
    assert status["result"]["stderrTruncated"] is False


texts = st.text(max_size=200)
modest = st.builds(
    a_result,
    status=st.sampled_from(["SUCCESS", "FAILED", "TIMEOUT"]),
    reason=st.sampled_from([r.value for r in Reason]),
    exit_code=st.none() | st.integers(0, 255),
    stdout=texts,
    stderr=texts,
    message=texts,
    optimization_tip=texts,
    peak_memory_bytes=st.none() | st.integers(0, 2**40),
    duration_millis=st.integers(0, 2**31),
    outputs=st.integers(0, 20).map(_files),
)
deliveries = st.builds(
    Delivery,
    state=st.sampled_from(["Delivered", "Pending", "Conflict"]),
    receivers=st.none() | st.integers(0, 9),
    message=texts,
)
inputs = st.none() | st.builds(
    wire.InputReport,
    files=st.integers(0, 10**6),
    bytes=st.integers(0, 2**50),
    duration_millis=st.integers(0, 10**7),
    retries=st.integers(0, 9),
)


@given(
    modest, deliveries, inputs, st.sampled_from([None, a_pod(), a_running_pod(sandbox=ended(1))])
)
def test_every_status_matches_the_schema(
    result: wire.Result, delivery: Delivery, inputs: wire.InputReport | None, pod: Pod | None
) -> None:
    status = status_of(result, pod=pod, delivery=delivery, inputs=inputs)

    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []
    assert size(status) <= STATUS_CAP_BYTES


@given(st.sampled_from(list(Reason)), st.text(max_size=3000))
def test_every_failure_has_a_status_that_matches_the_schema(reason: Reason, detail: str) -> None:
    end = failure(a_job(), reason, detail)

    status = merge_patch({}, final_status(a_job(), a_pod(), end, DELIVERED, NOW))

    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []


# Limits.

any_text = st.text(max_size=400) | st.text(
    alphabet=st.sampled_from(["\x00", "\x1b", "\n", '"', "\\", "값", "😀", "a", "<"]), max_size=3000
)


def json_size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


@pytest.mark.parametrize(("cut", "is_part"), [(tail, str.endswith), (head, str.startswith)])
@given(any_text, st.integers(2, 2000))
def test_tail_and_head_keep_as_much_as_fits(cut: Any, is_part: Any, text: str, cap: int) -> None:
    kept = cut(text, cap)

    assert is_part(text, kept)
    assert json_size(kept) <= cap
    assert kept == text or json_size(kept) > cap - 24 or len(text) > cap


@pytest.mark.parametrize("cut", [tail, head])
@pytest.mark.parametrize("char", ["x", "값", "😀", "\x00", '"'])
def test_a_text_of_equal_characters_is_cut_at_the_limit(cut: Any, char: str) -> None:
    kept = cut(char * 50_000, 12_288)

    each = json_size(char) - 2
    assert 12_288 - 6 - each <= json_size(kept) <= 12_288


@given(st.lists(st.text(max_size=40), max_size=40), st.integers(2, 400))
def test_first_keeps_as_many_items_as_fit(items: list[Any], cap: int) -> None:
    kept = first(items, cap)

    assert kept == items[: len(kept)]
    assert json_size(kept) <= cap
    assert len(kept) == len(items) or json_size(items[: len(kept) + 1]) > cap


FILES = _files(10_000)
PATHS = [f.path for f in FILES]
WORST = "\x00" * 70_000
many_attempts = st.integers(0, 29).map(
    lambda count: [
        an_attempt(
            n,
            "BackoffLimitExceeded",
            exitCode=255,
            memoryLimit="1023.9Gi",
            peakMemoryBytes=2**50,
        )
        for n in range(count)
    ]
)
floods = st.builds(
    a_result,
    status=st.sampled_from(["SUCCESS", "FAILED", "TIMEOUT"]),
    reason=st.sampled_from([r.value for r in Reason]),
    exit_code=st.none() | st.integers(0, 255),
    stdout=st.sampled_from([WORST, "😀" * 20_000, "", '"' * 70_000]),
    stderr=st.sampled_from([WORST, "값" * 30_000, "", "\u2028" * 30_000]),
    message=st.sampled_from([WORST, "", "m" * 1024]),
    function_id=st.none() | st.just("f" * 63),
    outputs=st.sampled_from([0, 1, 40, 10_000]).map(lambda n: FILES[:n]),
    output_files=st.sampled_from([0, 1, 40, 10_000]).map(lambda n: PATHS[:n]),
)


@given(floods, many_attempts, st.booleans())
@example(
    a_failed_result(
        3, stdout=WORST, stderr=WORST, message=WORST, outputs=FILES, output_files=PATHS
    ),
    [an_attempt(n, "BackoffLimitExceeded", exitCode=255) for n in range(29)],
    True,
)
@settings(max_examples=20)
def test_a_status_has_at_most_64_kib(
    result: wire.Result, attempts: list[Json], has_pod: bool
) -> None:
    name = "x" * 52
    for entry in attempts:
        entry["podName"] = f"{name}-5351954b-{entry['number']}"
    job = job_facts(a_job_body(name=name, status=retrying(*attempts), requestId="r" * 63))
    inputs = wire.InputReport(
        files=2**50, bytes=2**60, duration_millis=2**40, retries=2**20, manifest="s3://" + WORST
    )

    pod = a_running_pod(attempt=len(attempts)) if has_pod else None
    status = status_of(result, job=job, pod=pod, inputs=inputs)

    assert size(status) <= STATUS_CAP_BYTES
    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []


@pytest.mark.parametrize(
    "flood",
    [
        {"optimization_tip": "t" * 200_000},
        {"signal": "S" * 200_000},
        {"memory_source": "m" * 200_000},
        {"stdout_url": "s3://" + "u" * 200_000},
    ],
    ids=lambda flood: next(iter(flood)),
)
def test_no_field_of_a_report_exceeds_the_limit(flood: Json) -> None:
    assert size(status_of(a_result(**flood), pod=a_running_pod())) <= STATUS_CAP_BYTES


def test_the_content_of_a_redis_key_does_not_exceed_the_limit() -> None:
    delivery = Delivery(state="Conflict", message="result:r holds " + "x" * 200_000)

    status = status_of(a_result(), delivery=delivery)

    assert size(status) <= STATUS_CAP_BYTES
    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []


@given(many_attempts)
def test_the_list_of_attempts_is_bounded_and_the_numbering_continues(attempts: list[Json]) -> None:
    job = a_job(status=retrying(*attempts))

    status = retry_status(job, a_pod(), failure(job, Reason.EVICTED), False, False, NOW)

    after = job_facts(a_job_body(status=status))
    assert len(status["attempts"]) <= 30
    assert after.attempt == job.attempt + 1
