"""Bounds of what a sandbox reports: any report gives a status that the API server accepts."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanogrid import result_bounds, wire
from nanogrid.reasons import Reason
from nanogrid_operator.decision import outcome
from nanogrid_operator.decision.outcome import failure, minimal
from nanogrid_operator.status.job import attempt_entry, final_status, retry_status
from support.builders import JOB_UID, a_job, a_pod, a_report, a_result, a_running_pod, merge_patch
from support.final_statuses import DELIVERED, NOW, STATUS_CAP_BYTES, STATUS_SCHEMA, size
from support.strategies import reports, results

pytestmark = pytest.mark.security

SMALLEST, LARGEST = -(2**63), 2**63 - 1  # an integer of the API server

integers = st.integers() | st.sampled_from([2**70, -(2**70), 10**30, -1, 256, 2**63, 2**31])
words = st.text() | st.sampled_from(["S" * 9000, "SIG\n", "SIGKILL", "\x00" * 3000, "값" * 3000])


def built(cls: type, **fixed: Any) -> st.SearchStrategy[Any]:
    """Values of the right types, with numbers and texts of any size."""
    return st.builds(cls, **fixed)


files = built(wire.OutputFile, path=words, url=words, bytes=integers, sha256=words)
odd_results = st.builds(
    a_result,
    status=st.sampled_from(["SUCCESS", "FAILED", "TIMEOUT"]) | words,
    reason=st.sampled_from([r.value for r in Reason]) | words,
    exit_code=st.none() | integers,
    signal=st.none() | words,
    stdout=words,
    message=words,
    optimization_tip=words,
    duration_millis=integers,
    cpu_millis=st.none() | integers,
    peak_memory_bytes=st.none() | integers,
    peak_memory_mb=st.none() | integers,
    memory_source=st.none() | words,
    stdout_bytes=integers,
    stdout_url=st.none() | words,
    outputs=st.lists(files, max_size=3),
    output_files=st.lists(words, max_size=3),
    timings=st.builds(
        wire.Timings,
        sync_millis=st.none() | integers,
        start_millis=st.none() | integers,
        execution_millis=st.none() | integers,
        upload_millis=st.none() | integers,
    ),
    executions=st.none() | integers,
    schema_version=integers,
)
odd_inputs = st.none() | st.builds(
    wire.InputReport,
    files=integers,
    bytes=integers,
    duration_millis=integers,
    retries=integers,
    manifest=st.none() | words,
)


def numbers(value: Any) -> Iterator[int]:
    """All integers of a JSON value."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers(inner)
    elif isinstance(value, int) and not isinstance(value, bool):
        yield value


def accepted(status: Any) -> bool:
    """Whether the API server accepts a status: its schema, its integers, its size."""
    stored = merge_patch({}, status)
    assert [e.message for e in STATUS_SCHEMA.iter_errors(stored)] == []
    assert all(SMALLEST <= number <= LARGEST for number in numbers(stored))
    assert size(stored) <= STATUS_CAP_BYTES
    json.dumps(stored, ensure_ascii=False).encode()  # no half of a surrogate pair
    return True


def over_the_wire(report: wire.Report) -> wire.Report:
    """What the operator reads of a report that was sent."""
    return result_bounds.report(wire.loads(wire.Report, json.dumps(wire.to_dict(report))))


@given(odd_results, odd_inputs)
@settings(max_examples=200)
def test_any_report_gives_a_status_that_the_api_server_accepts(
    result: wire.Result, inputs: wire.InputReport | None
) -> None:
    job, pod = a_job(backoffLimit=3), a_running_pod()
    report = over_the_wire(a_report(result, inputs=inputs))

    end = outcome.from_report(job, pod, report)

    assert accepted(final_status(job, pod, end, DELIVERED, NOW))
    assert accepted(retry_status(job, pod, end, True, False, NOW))


@pytest.mark.parametrize("character", ["\x00", '"', "\\", "값", "😀", "\u2028", "a"])
@pytest.mark.parametrize("files", [1, 50])
def test_the_longest_texts_everywhere_give_a_status_that_the_api_server_accepts(
    character: str, files: int
) -> None:
    """A control character has one byte in UTF-8, and six in JSON."""
    long = character * 100_000
    file = wire.OutputFile(path=long, url=long, bytes=2**70, sha256=long, content_type=long)
    result = a_result(
        status="FAILED", reason=long, exit_code=2**70, signal=long, stdout=long, stderr=long,
        message=long, optimization_tip=long, memory_source=long, stdout_url=long, stderr_url=long,
        outputs=[file, replace(file, path="f", url="f")] * files, output_files=["f", long] * files,
        outputs_note=long, function_id=long,
    )  # fmt: skip
    inputs = wire.InputReport(
        files=2**70, bytes=2**70, duration_millis=2**70, retries=2**70, manifest=long,
        notes=[long] * 9,
    )  # fmt: skip
    job, pod = a_job(backoffLimit=3), a_running_pod()

    end = outcome.from_report(job, pod, over_the_wire(a_report(result, inputs=inputs)))

    assert accepted(final_status(job, pod, end, DELIVERED, NOW))
    assert accepted(retry_status(job, pod, end, True, False, NOW))


def test_an_honest_manifest_is_shown_in_full() -> None:
    manifest = f"s3://{'b' * 63}/{'k' * 1024}"
    inputs = wire.InputReport(files=1, bytes=1, duration_millis=1, retries=0, manifest=manifest)
    job, pod = a_job(), a_running_pod()

    end = outcome.from_report(job, pod, over_the_wire(a_report(a_result(), inputs=inputs)))

    assert final_status(job, pod, end, DELIVERED, NOW)["inputs"]["manifest"] == manifest


@given(reports)
def test_any_report_is_bounded_once_and_for_all(report: wire.Report) -> None:
    bounded = result_bounds.report(report)

    assert result_bounds.report(bounded) == bounded
    assert all(0 <= number <= 2**53 - 1 for number in numbers(wire.to_dict(bounded)))


@given(results)
def test_a_bound_never_makes_a_success(result: wire.Result) -> None:
    bounded = result_bounds.result(result)

    assert bounded.status != "SUCCESS" or result.status == "SUCCESS"
    assert bounded.exit_code != 0 or result.exit_code == 0
    assert (bounded.signal is None) == (result.signal is None)


def test_without_bounds_the_api_server_refuses_such_a_report() -> None:
    """The control: the same status without bounds breaks the schema, and no integer holds it."""
    odd = a_report(a_result(exit_code=2**70, duration_millis=-1, peak_memory_bytes=10**30))
    end = outcome.from_report(a_job(), a_running_pod(), odd)

    status = final_status(a_job(), a_running_pod(), end, DELIVERED, NOW)

    with pytest.raises(AssertionError):
        accepted(status)
    assert attempt_entry(a_job(), a_pod(), end, True, NOW)["exitCode"] > LARGEST


def test_an_honest_report_is_unchanged() -> None:
    file = wire.OutputFile(
        path="차트/매출.png",
        url="https://s3/" + "x" * 3000,
        bytes=3,
        sha256="0" * 64,
        content_type="image/png",
    )
    stream = "값" * (wire.STREAM_CAP_BYTES // 3)
    honest = a_result(
        stdout=stream, signal="SIG35", exit_code=163, outputs=[file], output_files=[file.url]
    )
    inputs = wire.InputReport(files=1, bytes=2**40, duration_millis=3, retries=0, manifest="s3://m")
    report = a_report(honest, inputs=inputs)

    assert result_bounds.report(report) == report


@pytest.mark.parametrize(
    ("given_name", "bounded"),
    [
        ("SIGKILL", "SIGKILL"),
        ("SIG64", "SIG64"),
        ("SIG", "SIGUNKNOWN"),
        ("sigkill", "SIGUNKNOWN"),
        ("SIGKILL\n", "SIGUNKNOWN"),
        ("SIG KILL", "SIGUNKNOWN"),
        ("SIG" + "K" * 900_000, "SIGUNKNOWN"),
        ("", "SIGUNKNOWN"),
    ],
)
def test_signal_names(given_name: str, bounded: str) -> None:
    assert result_bounds.signal_name(given_name) == bounded


def test_a_sessions_report_is_bounded() -> None:
    odd = wire.SessionReport(
        uid=JOB_UID,
        attempt=-5,
        ready=True,
        executions=10**30,
        running=-1,
        last_activity_millis=10**30,
        restarts=-7,
    )

    bounded = result_bounds.session_report(odd)

    assert bounded.last_activity_millis == result_bounds.MAX_MILLIS
    assert (bounded.attempt, bounded.executions) == (0, 2**53 - 1)
    assert (bounded.running, bounded.restarts) == (0, 0)
    assert result_bounds.session_report(replace(odd, running=None)).running is None


@given(odd_results, words, st.sampled_from(list(Reason)))
def test_the_minimal_status_of_any_end_is_accepted(
    result: wire.Result, refusal: str, reason: Reason
) -> None:
    """Also of an end that was not bounded at all."""
    job = a_job()
    refusal = refusal.encode(errors="replace").decode()
    end = replace(failure(job, reason), result=result)

    bare = minimal(job, end, refusal)

    known = {"SUCCESS", "FAILED", "TIMEOUT"}
    assert bare.succeeded == (result.status == "SUCCESS")
    assert bare.result.status == (result.status if result.status in known else "FAILED")
    assert accepted(final_status(job, None, bare, DELIVERED, NOW))
    assert accepted(retry_status(job, None, bare, True, False, NOW))
