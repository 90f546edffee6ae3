"""The JSON between operator, pod, S3 and Redis: stable, exact, tolerant of newer writers."""

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given

from nanogrid import wire
from support import strategies
from support.builders import a_report, a_result, golden

# As in requirements.md, for the result of the older system.
OLDER_SYSTEM_KEYS = [
    "requestId", "functionId", "status", "exitCode", "stdout", "stderr", "durationMillis",
    "peakMemoryBytes", "peakMemoryMB", "optimizationTip", "outputFiles",
]  # fmt: skip
ADDED_KEYS = {
    "schemaVersion", "reason", "job", "message", "signal", "stdoutBytes", "stderrBytes",
    "stdoutTruncated", "stderrTruncated", "cpuMillis", "memorySource", "outputs", "timings",
    "attempt", "executions", "outputBytes", "outputsNote", "stdoutUrl", "stderrUrl",
    "namespace", "authentication", "stdoutEncoding", "stderrEncoding",
}  # fmt: skip

FULL_RESULT = a_result(
    request_id="order-1",
    function_id="sales-total",
    stdout="합계 157,685,452원\n",
    stdout_bytes=22,
    output_files=["report.json"],
    optimization_tip="limit 256Mi, used 41Mi: lower the limit.",
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


def test_the_keys_of_the_older_system_come_first_with_their_names_and_order() -> None:
    keys = list(json.loads(wire.dumps(FULL_RESULT)))

    assert keys[: len(OLDER_SYSTEM_KEYS)] == OLDER_SYSTEM_KEYS


def test_a_result_has_the_older_keys_and_the_added_ones() -> None:
    assert set(json.loads(wire.dumps(a_result()))) == {*OLDER_SYSTEM_KEYS, *ADDED_KEYS}


def test_korean_text_is_not_escaped() -> None:
    text = wire.dumps(FULL_RESULT)

    assert '"stdout":"합계 157,685,452원\\n"' in text


def test_the_text_is_compact_and_one_line() -> None:
    text = wire.dumps(a_report(a_result(stdout="a\nb", message="")))

    assert "\n" not in text
    assert text.startswith('{"attempt":0,"result":{"requestId":')


@given(strategies.tasks)
def test_a_task_is_read_as_it_was_written(task: wire.PodTask) -> None:
    assert wire.loads(wire.PodTask, wire.dumps(task)) == task


@given(strategies.results)
def test_a_result_is_read_as_it_was_written(result: wire.Result) -> None:
    assert wire.loads(wire.Result, wire.dumps(result).encode()) == result


@given(strategies.reports)
def test_a_report_is_read_as_it_was_written(report: wire.Report) -> None:
    assert wire.loads(wire.Report, wire.dumps(report)) == report


def test_keys_of_a_newer_writer_are_ignored_at_every_level() -> None:
    data = wire.to_dict(a_report())
    data["later"] = 1
    data["result"]["later"] = {"a": 1}
    data["result"]["job"]["later"] = [None]

    assert wire.from_dict(wire.Report, data) == a_report()


def test_missing_keys_of_an_older_writer_have_defaults() -> None:
    data = wire.to_dict(a_result())
    for key in ADDED_KEYS - {"reason", "job"}:
        del data[key]

    result = wire.from_dict(wire.Result, data)

    assert (result.outputs, result.signal, result.timings) == ([], None, wire.Timings())


@pytest.mark.parametrize(
    "key", ["functionId", "exitCode", "peakMemoryBytes", "peakMemoryMB", "signal", "stdoutUrl"]
)
def test_a_nullable_key_may_be_absent_as_the_api_server_removes_nulls(key: str) -> None:
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
    ("path", "value", "message"),
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
    path: str, value: Any, message: str
) -> None:
    data = _changed(path, value)

    with pytest.raises(ValueError) as error:  # noqa: PT011 the whole message is compared
        wire.from_dict(wire.Report, data)

    assert str(error.value) == message


def test_a_wrong_value_in_a_map_is_named_by_its_key() -> None:
    data = {**golden("task.json"), "env": {"A": "1", "B": 2}}

    with pytest.raises(ValueError, match=r"^env\.B: expected str, got int$"):
        wire.from_dict(wire.PodTask, data)


def test_whole_seconds_are_read_as_floats() -> None:
    task = wire.from_dict(wire.PodTask, {**golden("task.json"), "executionTimeoutSeconds": 5})

    assert isinstance(task.execution_timeout_seconds, float)


def test_a_whole_number_above_every_float_is_a_value_error() -> None:
    with pytest.raises(ValueError, match=r"^executionTimeoutSeconds: the number is too large$"):
        wire.from_dict(wire.PodTask, {**golden("task.json"), "executionTimeoutSeconds": 10**400})


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", b"\xff\xfe"])
def test_other_text_than_a_json_object_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 json's and ours
        wire.loads(wire.Report, text)


def test_deep_nesting_is_a_value_error() -> None:
    with pytest.raises(ValueError):  # noqa: PT011 json's and ours
        wire.loads(wire.Report, '{"a":' * 200_000)


def test_a_read_value_can_be_written_as_utf8() -> None:
    data = json.dumps(wire.to_dict(a_report(a_result(stdout="\ud800"))))  # pure ASCII

    result = wire.loads(wire.Report, data).result

    assert wire.dumps(result).encode()


def test_an_s3_source_has_a_uri() -> None:
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
def test_names_are_camel_case_with_one_exception(name: str, want: str) -> None:
    assert wire.json_name(name) == want


def test_a_blank_result_has_no_data_of_an_execution() -> None:
    blank = wire.to_dict(
        wire.blank_result(
            request_id="order-1",
            function_id="f",
            status="FAILED",
            reason="PodLost",
            job=wire.JobRef(namespace="team-a", name="sales", uid="uid-1"),
            attempt=0,
            message="The pod disappeared.",
        )
    )

    nothing = {"exitCode": None, "stdout": "", "stderr": "", "durationMillis": 0}
    nothing |= {"peakMemoryBytes": None, "peakMemoryMB": None}
    nothing |= {"optimizationTip": "", "outputFiles": []}
    assert blank | nothing == blank
    assert (blank["requestId"], blank["reason"], blank["job"]["uid"]) == (
        "order-1",
        "PodLost",
        "uid-1",
    )
