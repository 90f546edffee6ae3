"""The JSON between operator, pod, S3 and Redis: stable, exact, tolerant of newer writers."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given

from nanogrid import wire
from unit import strategies
from unit.builders import a_report, a_result, golden

# As requirements.md lists them for the older system's result.
OLDER_SYSTEM_KEYS = [
    "requestId", "functionId", "status", "exitCode", "stdout", "stderr", "durationMillis",
    "peakMemoryBytes", "peakMemoryMB", "optimizationTip", "outputFiles",
]  # fmt: skip
ADDED_KEYS = {
    "schemaVersion", "reason", "job", "message", "signal", "stdoutBytes", "stderrBytes",
    "stdoutTruncated", "stderrTruncated", "cpuMillis", "memorySource", "outputs", "timings",
    "attempt", "executions", "stdoutUrl", "stderrUrl",
}  # fmt: skip

FULL_RESULT = a_result(
    request_id="order-1",
    function_id="sales-total",
    stdout="합계 157,685,452원\n",
    stdout_bytes=22,
    output_files=["report.json"],
    optimization_tip="limit 256 MB, used 41 MB: lower the limit.",
    outputs=[
        wire.OutputFile(
            path="report.json",
            url="s3://user-data/outputs/order-1/report.json",
            bytes=64,
            sha256="ab" * 32,
            content_type="application/json",
        )
    ],
    timings=wire.Timings(sync_millis=80, start_millis=12, execution_millis=312, upload_millis=20),
)


def test_the_result_is_the_golden_json() -> None:
    assert wire.to_dict(FULL_RESULT) == golden("result.json")


def test_the_older_systems_keys_come_first_in_their_order_and_keep_their_names() -> None:
    keys = list(json.loads(wire.dumps(FULL_RESULT)))

    assert keys[: len(OLDER_SYSTEM_KEYS)] == OLDER_SYSTEM_KEYS


def test_a_result_has_no_keys_but_the_older_systems_and_ours() -> None:
    assert set(json.loads(wire.dumps(a_result()))) == {*OLDER_SYSTEM_KEYS, *ADDED_KEYS}


def test_korean_text_is_written_as_it_is() -> None:
    text = wire.dumps(FULL_RESULT)

    assert '"stdout":"합계 157,685,452원\\n"' in text


def test_the_text_is_compact_and_one_line() -> None:
    text = wire.dumps(a_report(a_result(stdout="a\nb", message="")))

    assert "\n" not in text
    assert text.startswith('{"attempt":0,"result":{"requestId":')


@given(strategies.tasks)
def test_a_task_survives_the_journey(task: wire.Task) -> None:
    assert wire.loads(wire.Task, wire.dumps(task)) == task


@given(strategies.results)
def test_a_result_survives_the_journey(result: wire.Result) -> None:
    assert wire.loads(wire.Result, wire.dumps(result).encode()) == result


@given(strategies.reports)
def test_a_report_survives_the_journey(report: wire.Report) -> None:
    assert wire.loads(wire.Report, wire.dumps(report)) == report


def test_keys_of_a_newer_writer_are_ignored_at_every_level() -> None:
    data = wire.to_dict(a_report())
    data["later"] = 1
    data["result"]["later"] = {"a": 1}
    data["result"]["job"]["later"] = [None]

    assert wire.from_dict(wire.Report, data) == a_report()


def test_keys_that_an_older_writer_did_not_know_have_their_defaults() -> None:
    data = wire.to_dict(a_result())
    for key in ADDED_KEYS - {"reason", "job"}:
        del data[key]

    result = wire.from_dict(wire.Result, data)

    assert (result.outputs, result.signal, result.timings) == ([], None, wire.Timings())


@pytest.mark.parametrize(
    "key", ["functionId", "exitCode", "peakMemoryBytes", "peakMemoryMB", "signal", "stdoutUrl"]
)
def test_what_may_be_null_may_be_absent_as_the_api_server_keeps_it(key: str) -> None:
    data = wire.to_dict(a_report(FULL_RESULT))
    del data["result"][key]

    result = wire.from_dict(wire.Report, data).result

    assert getattr(result, FIELDS[key]) is None
    assert wire.to_dict(result) == {**wire.to_dict(FULL_RESULT), key: None}


FIELDS = {wire.json_name(f.name): f.name for f in fields(wire.Result)}


def _changed(path: str, value: Any) -> Any:
    """A full report with one value replaced, or removed if the value is ``...``."""
    data: Any = wire.to_dict(a_report(FULL_RESULT))
    *parents, last = [int(p) if p.isdigit() else p for p in path.split("/")]
    node = data
    for parent in parents:
        node = node[parent]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return data


@pytest.mark.parametrize(
    ("path", "value", "complaint"),
    [
        ("attempt", ..., "Report: attempt is missing"),
        ("result", ..., "Report: result is missing"),
        ("result/requestId", ..., "result: requestId is missing"),
        ("result/durationMillis", ..., "result: durationMillis is missing"),
        ("result/outputFiles", ..., "result: outputFiles is missing"),
        ("result/job/uid", ..., "result.job: uid is missing"),
        ("attempt", "0", "attempt: expected int, got str"),
        ("attempt", True, "attempt: expected int, got bool"),
        ("attempt", 1.0, "attempt: expected int, got float"),
        ("final", 1, "final: expected bool, got int"),
        ("final", None, "final: expected bool, got NoneType"),
        ("result", [], "result: expected an object, got list"),
        ("result/stdout", None, "result.stdout: expected str, got NoneType"),
        ("result/exitCode", "0", "result.exitCode: expected int, got str"),
        ("result/job/uid", 5, "result.job.uid: expected str, got int"),
        ("result/outputFiles", {}, "result.outputFiles: expected list, got dict"),
        ("result/outputFiles", [1], "result.outputFiles[0]: expected str, got int"),
        ("result/outputs/0/bytes", "64", "result.outputs[0].bytes: expected int, got str"),
        ("result/outputs/0/url", ..., "result.outputs[0]: url is missing"),
        ("result/timings/syncMillis", "1", "result.timings.syncMillis: expected int, got str"),
        ("inputs", 3, "inputs: expected an object, got int"),
    ],
)
def test_a_wrong_report_is_refused_with_the_path_of_the_key(
    path: str, value: Any, complaint: str
) -> None:
    data = _changed(path, value)

    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        wire.from_dict(wire.Report, data)

    assert str(error.value) == complaint


def test_a_wrong_value_in_a_map_is_named_by_its_key() -> None:
    data = {**golden("task.json"), "env": {"A": "1", "B": 2}}

    with pytest.raises(ValueError, match=r"^env\.B: expected str, got int$"):
        wire.from_dict(wire.Task, data)


def test_whole_seconds_are_read_as_numbers_with_a_point() -> None:
    task = wire.from_dict(wire.Task, {**golden("task.json"), "executionTimeoutSeconds": 5})

    assert isinstance(task.execution_timeout_seconds, float)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", b"\xff\xfe"])
def test_what_is_no_json_object_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 json's and ours
        wire.loads(wire.Report, text)


def test_nesting_without_end_is_a_value_error_too() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 json's and ours
        wire.loads(wire.Report, '{"a":' * 200_000)


def test_what_was_read_can_be_written_as_utf8() -> None:
    data = json.dumps(wire.to_dict(a_report(a_result(stdout="\ud800"))))  # pure ASCII

    result = wire.loads(wire.Report, data).result

    assert wire.dumps(result).encode()


def test_an_s3_source_reads_like_people_write_it() -> None:
    one = wire.S3Source(bucket="b", key="in/판매.csv")
    many = wire.S3Source(bucket="b", prefix="in/")

    assert (one.uri(), many.uri()) == ("s3://b/in/판매.csv", "s3://b/in/")


@pytest.mark.parametrize(
    ("name", "want"),
    [
        ("status", "status"),
        ("peak_memory_mb", "peakMemoryMB"),
        ("peak_memory_bytes", "peakMemoryBytes"),
        ("code_s3", "codeS3"),
    ],
)
def test_names_are_camel_case_but_for_one(name: str, want: str) -> None:
    assert wire.json_name(name) == want
