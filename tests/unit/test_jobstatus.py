"""What is written into a job's status: whole, bounded, and as the API server's schema wants it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nanogrid import wire
from nanogrid.crd import schema_of
from nanogrid.reasons import HELP, Reason
from nanogrid.status import Phase, Status
from nanogrid_operator.facts import Ended, Job, Pod, job_facts
from nanogrid_operator.jobstatus import (
    condition,
    delivered_status,
    final_status,
    first,
    head,
    human_bytes,
    human_millis,
    progress_status,
    retry_status,
    tail,
    timestamp,
)
from nanogrid_operator.outcome import Delivery, failure, from_report, sync_failure
from unit.builders import (
    CREATED,
    CREATED_TEXT,
    JOB_UID,
    MIB,
    POD_NAME,
    Json,
    a_failed_result,
    a_job,
    a_job_body,
    a_lost_result,
    a_pod,
    a_report,
    a_result,
    a_running_pod,
    an_attempt,
    ended,
    merge_patch,
    retrying,
)

NOW = CREATED + 5
NOW_TEXT = "2025-10-09T08:53:25Z"
DELIVERED = Delivery(state="Delivered", receivers=2, stream_id="1-0")
STATUS_CAP_BYTES = 64 * 1024
STATUS_SCHEMA = Draft202012Validator(schema_of(Status))


def status_of(
    result: wire.Result,
    *,
    job: Job | None = None,
    pod: Pod | None = None,
    delivery: Delivery = DELIVERED,
    inputs: wire.InputReport | None = None,
) -> Json:
    """The final status as the API server stores it."""
    job = job or a_job()
    report = a_report(replace(result, request_id=job.request_id), inputs=inputs)
    end = from_report(job, pod, report)
    stored: Json = merge_patch(job.status, final_status(job, pod, end, delivery, NOW))
    return stored


def conditions_of(status: Json) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def size(status: Json) -> int:
    return len(json.dumps(status, ensure_ascii=False, separators=(",", ":")).encode())


# Whole statuses.


def test_the_status_of_a_job_that_went_well() -> None:
    inputs = wire.InputReport(files=3, bytes=112_391, duration_millis=80, retries=0)

    status = status_of(a_result(), pod=a_running_pod(), inputs=inputs)

    done = {"lastTransitionTime": NOW_TEXT, "observedGeneration": 1}
    said = "The code exited with 0 and its outputs are stored."
    assert status == {
        "observedGeneration": 1,
        "phase": "Succeeded",
        "reason": "Completed",
        "message": said,
        "requestId": JOB_UID,
        "podName": POD_NAME,
        "startTime": CREATED_TEXT,
        "completionTime": NOW_TEXT,
        "duration": "312ms",
        "peakMemory": "41Mi/256Mi",
        "attempts": [
            {
                "number": 0,
                "podName": POD_NAME,
                "reason": "Completed",
                "exitCode": 0,
                "memoryLimit": "256Mi",
                "peakMemoryBytes": 41 * MIB,
                "counted": False,
                "startTime": CREATED_TEXT,
                "completionTime": NOW_TEXT,
            }
        ],
        "inputs": {"files": 3, "bytes": 112_391, "durationMillis": 80, "retries": 0},
        "timings": {"pendingMillis": 0, "totalMillis": 5000},
        "delivery": {"state": "Delivered", "receivers": 2, "streamId": "1-0", "message": ""},
        "conditions": [
            {
                "type": "InputsSynced",
                "status": "True",
                "reason": "Synced",
                "message": "3 files, 112391 B in 80 ms",
                **done,
            },
            {
                "type": "SandboxReady",
                "status": "True",
                "reason": "Executing",
                "message": "",
                **done,
            },
            {
                "type": "Executed",
                "status": "True",
                "reason": "Completed",
                "message": said,
                **done,
            },
            {
                "type": "OutputsUploaded",
                "status": "True",
                "reason": "NoOutputs",
                "message": "",
                **done,
            },
            {
                "type": "ResultDelivered",
                "status": "True",
                "reason": "Delivered",
                "message": "2 subscribers",
                **done,
            },
            {"type": "Complete", "status": "True", "reason": "Completed", "message": said, **done},
            {"type": "Finished", "status": "True", "reason": "Completed", "message": said, **done},
        ],
        "result": merge_patch({}, wire.to_dict(a_result())),
    }


@pytest.mark.parametrize(
    ("result", "want"),
    [
        (
            a_failed_result(3),
            {"phase": "Failed", "reason": "NonZeroExit", "Executed": "True", "Failed": "True"},
        ),
        (
            a_result(status="TIMEOUT", exit_code=143, reason="ExecutionTimeout"),
            {"phase": "Failed", "reason": "ExecutionTimeout", "Executed": "True"},
        ),
        (
            a_failed_result(0, reason="OutputUploadFailed"),
            {"phase": "Failed", "Executed": "True", "OutputsUploaded": "False"},
        ),
        (
            a_failed_result(None, reason="EntrypointNotFound"),
            {"phase": "Failed", "Executed": "False", "SandboxReady": "False"},
        ),
    ],
    ids=["exit code", "timeout", "upload", "no entrypoint"],
)
def test_the_conditions_of_a_job_that_ran_into_trouble(result: wire.Result, want: Json) -> None:
    status = status_of(result, pod=a_running_pod())

    said = {**{k: v[0] for k, v in conditions_of(status).items()}, **status}
    assert {key: said[key] for key in want} == want


NOT_RUN = [r for r in Reason if "did not run" in HELP[r].meaning]


@pytest.mark.parametrize(
    "reason",
    NOT_RUN,
)
def test_inputs_that_could_not_be_synced_are_named_and_nothing_ran(reason: Reason) -> None:
    told = wire.dumps(wire.SyncFailure(reason=reason.value, message="s3://user-data/in/a.csv"))
    end = sync_failure(a_job(), Ended(1, "Error", told))

    status = final_status(a_job(), a_pod(), end, DELIVERED, NOW)

    assert status["reason"] == reason.value
    assert "s3://user-data/in/a.csv" in status["message"]
    said = conditions_of(status)
    assert said["InputsSynced"] == ("False", reason.value)
    assert said["Executed"] == ("False", "NotExecuted")
    assert "OutputsUploaded" not in said
    assert "duration" not in status


@pytest.mark.parametrize("code", [None, 0, 137])
def test_every_end_is_finished_and_either_complete_or_failed(code: int | None) -> None:
    for reason in Reason:
        status = status_of(a_failed_result(code, reason=reason.value))

        said = conditions_of(status)
        assert said["Finished"] == ("True", reason.value)
        assert len({"Complete", "Failed"} & set(said)) == 1
        assert len(said) == len(status["conditions"])
        assert ("Complete" in said) == (status["phase"] == "Succeeded")


def test_output_files_are_counted() -> None:
    file = wire.OutputFile(path="a", url="s3://b/a", bytes=1, sha256="", content_type="text/plain")

    status = status_of(a_result(outputs=[file, file], output_files=["a", "a"]))

    (said,) = [c for c in status["conditions"] if c["type"] == "OutputsUploaded"]
    assert (said["reason"], said["message"]) == ("Uploaded", "2 files")


# Delivery.


@pytest.mark.parametrize(
    ("delivery", "want"),
    [
        (Delivery(state="Delivered", receivers=1, stream_id="1-0"), ("True", "Delivered")),
        (Delivery(state="Delivered", receivers=0, stream_id="1-0"), ("True", "NoSubscriber")),
        (Delivery(state="Pending", message="refused"), ("False", "RedisUnavailable")),
        (Delivery(state="Conflict", message="key held"), ("False", "RequestIdConflict")),
    ],
)
def test_delivery_has_its_condition(delivery: Delivery, want: tuple[str, str]) -> None:
    status = status_of(a_result(), delivery=delivery)

    assert conditions_of(status)["ResultDelivered"] == want
    assert status["delivery"]["state"] == delivery.state


def test_subscribers_that_nobody_counted_are_not_counted_as_none() -> None:
    earlier = Delivery(state="Delivered", message="delivered by an earlier try")

    status = status_of(a_result(), delivery=earlier)

    (said,) = [c for c in status["conditions"] if c["type"] == "ResultDelivered"]
    assert said["message"] != "0 subscribers"


def test_a_late_delivery_changes_its_own_condition_alone() -> None:
    before = status_of(a_result(), delivery=Delivery(state="Pending", message="refused"))
    job = a_job(status=before)

    patch = delivered_status(job, DELIVERED, NOW + 60)
    after = merge_patch(before, patch)

    assert conditions_of(after) == {
        **conditions_of(before),
        "ResultDelivered": ("True", "Delivered"),
    }
    assert after["delivery"] == {
        "state": "Delivered",
        "receivers": 2,
        "streamId": "1-0",
        "message": "",
    }
    assert {k: after[k] for k in after if k not in ("conditions", "delivery")} == {
        k: before[k] for k in before if k not in ("conditions", "delivery")
    }


@given(
    st.builds(
        lambda code, name: (a_failed_result if code else a_result)(
            exit_code=code, function_id=name
        ),
        st.integers(0, 255),
        st.none() | st.text(min_size=1),
    )
)
def test_the_result_on_a_job_is_good_for_a_late_delivery(result: wire.Result) -> None:
    status = status_of(result)

    assert wire.from_dict(wire.Result, status["result"]) == result


@pytest.mark.parametrize("result", [a_result(), a_lost_result(function_id="f")])
def test_so_is_one_with_keys_that_are_null(result: wire.Result) -> None:
    status = status_of(result)

    assert wire.from_dict(wire.Result, status["result"]) == result


# Conditions.


@pytest.mark.parametrize(
    ("old", "want"), [("True", CREATED_TEXT), ("False", NOW_TEXT), (None, NOW_TEXT)]
)
def test_a_condition_keeps_its_time_while_its_status_stays(old: str | None, want: str) -> None:
    before = {"type": "Executed", "status": old, "lastTransitionTime": CREATED_TEXT}
    job = a_job(status={"conditions": [before] if old else []})

    after = condition(job, "Executed", True, Reason.COMPLETED, "done", NOW)

    assert after == {
        "type": "Executed",
        "status": "True",
        "reason": "Completed",
        "message": "done",
        "lastTransitionTime": want,
        "observedGeneration": 1,
    }


# What the API server takes.

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
def test_a_flood_still_gives_a_status_of_64_kib_that_the_schema_allows(flood: Json) -> None:
    status = status_of(a_result(**flood), pod=a_running_pod())

    assert size(status) <= STATUS_CAP_BYTES
    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []


def test_a_cut_stream_keeps_its_end_and_says_that_it_is_cut() -> None:
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
def test_the_api_server_takes_any_status(
    result: wire.Result, delivery: Delivery, inputs: wire.InputReport | None, pod: Pod | None
) -> None:
    status = status_of(result, pod=pod, delivery=delivery, inputs=inputs)

    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []
    assert size(status) <= STATUS_CAP_BYTES


@given(st.sampled_from(list(Reason)), st.text(max_size=3000))
def test_a_failure_of_any_reason_and_detail_has_a_status_the_api_server_takes(
    reason: Reason, detail: str
) -> None:
    end = failure(a_job(), reason, detail)

    status = merge_patch({}, final_status(a_job(), a_pod(), end, DELIVERED, NOW))

    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []


# For people.


@pytest.mark.parametrize(
    ("millis", "want"),
    [
        (0, "0ms"),
        (312, "312ms"),
        (999, "999ms"),
        (1000, "1.0s"),
        (8_240, "8.2s"),
        (60_000, "1m0s"),
        (200_500, "3m20s"),
        (7_260_000, "121m0s"),
        (59_960, "1m0s"),
    ],
)
def test_durations_read_well(millis: int, want: str) -> None:
    assert human_millis(millis) == want


@pytest.mark.parametrize(
    ("count", "want"),
    [(1, "1Mi"), (41 * MIB, "41Mi"), (1 << 30, "1.0Gi"), (5 << 29, "2.5Gi")],
)
def test_sizes_read_well(count: int, want: str) -> None:
    assert human_bytes(count) == want


def test_times_are_written_as_kubernetes_does() -> None:
    assert timestamp(CREATED + 0.9) == CREATED_TEXT


# Caps.

any_text = st.text(max_size=400) | st.text(
    alphabet=st.sampled_from(["\x00", "\x1b", "\n", '"', "\\", "값", "😀", "a", "<"]), max_size=3000
)


def json_size(value: Any) -> int:
    return len(json.dumps(value, ensure_ascii=False).encode())


@given(any_text, st.integers(2, 2000))
def test_the_end_of_a_text_is_its_end_and_as_much_as_fits(text: str, cap: int) -> None:
    kept = tail(text, cap)

    assert text.endswith(kept)
    assert json_size(kept) <= cap
    assert kept == text or json_size(kept) > cap - 24 or len(text) > cap


@given(any_text, st.integers(2, 2000))
def test_the_beginning_of_a_text_is_its_beginning_and_as_much_as_fits(text: str, cap: int) -> None:
    kept = head(text, cap)

    assert text.startswith(kept)
    assert json_size(kept) <= cap
    assert kept == text or json_size(kept) > cap - 24 or len(text) > cap


@pytest.mark.parametrize("cut", [tail, head])
@pytest.mark.parametrize("char", ["x", "값", "😀", "\x00", '"'])
def test_a_text_of_one_character_is_cut_to_the_last_that_fits(cut: Any, char: str) -> None:
    kept = cut(char * 50_000, 12_288)

    each = json_size(char) - 2
    assert 12_288 - 6 - each <= json_size(kept) <= 12_288


@given(st.lists(st.text(max_size=40), max_size=40), st.integers(2, 400))
def test_the_first_items_are_as_many_as_fit(items: list[Any], cap: int) -> None:
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
def test_a_status_never_has_more_than_64_kib(
    result: wire.Result, attempts: list[Json], has_pod: bool
) -> None:
    name = "x" * 52
    for entry in attempts:
        entry["podName"] = f"{name}-5351954b-{entry['number']}"
    job = job_facts(a_job_body(name=name, status=retrying(*attempts), requestId="r" * 63))
    inputs = wire.InputReport(
        files=2**50, bytes=2**60, duration_millis=2**40, retries=2**20, manifest="s3://" + "m" * 999
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
def test_nor_whatever_else_a_report_holds(flood: Json) -> None:
    assert size(status_of(a_result(**flood), pod=a_running_pod())) <= STATUS_CAP_BYTES


def test_nor_whatever_redis_holds_under_our_key() -> None:
    delivery = Delivery(state="Conflict", message="result:r holds " + "x" * 200_000)

    status = status_of(a_result(), delivery=delivery)

    assert size(status) <= STATUS_CAP_BYTES
    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []


# Attempts.


def test_an_attempt_that_is_followed_by_another_is_kept_with_its_memory() -> None:
    end = from_report(a_job(), None, a_report(a_failed_result(137, reason="OOMKilled")))
    before = {"phase": "Running", "podName": POD_NAME, "startTime": CREATED_TEXT}

    patch = retry_status(a_job(), a_running_pod(), end, False, False, NOW)
    status = merge_patch(before, patch)

    assert status == {
        "observedGeneration": 1,
        "phase": "Pending",
        "reason": "Retrying",
        "message": "Attempt 0 ended: Exit 3.",
        "requestId": JOB_UID,
        "startTime": CREATED_TEXT,
        "attempts": [
            {
                "number": 0,
                "podName": POD_NAME,
                "reason": "OOMKilled",
                "exitCode": 137,
                "memoryLimit": "256Mi",
                "peakMemoryBytes": 41 * MIB,
                "counted": False,
                "startTime": CREATED_TEXT,
                "completionTime": NOW_TEXT,
            }
        ],
    }
    assert [e.message for e in STATUS_SCHEMA.iter_errors(status)] == []


def test_a_suspended_attempt_leaves_a_suspended_job() -> None:
    end = failure(a_job(), Reason.SUSPENDED)

    status = retry_status(a_job(), a_pod(), end, False, True, NOW)

    assert (status["phase"], status["reason"]) == ("Suspended", "Suspended")
    assert [a["reason"] for a in status["attempts"]] == ["Suspended"]
    assert job_facts(a_job_body(status=status)).attempt == 1


@given(many_attempts)
def test_attempts_are_bounded_and_numbered_on(attempts: list[Json]) -> None:
    job = a_job(status=retrying(*attempts))

    status = retry_status(job, a_pod(), failure(job, Reason.EVICTED), False, False, NOW)

    after = job_facts(a_job_body(status=status))
    assert len(status["attempts"]) <= 30
    assert after.attempt == job.attempt + 1


def test_the_last_attempt_is_listed_like_those_before_it() -> None:
    job = a_job(backoffLimit=1, status=retrying(an_attempt(0)))
    end = from_report(job, None, a_report(a_failed_result(3, attempt=1)))

    status = final_status(job, a_running_pod(attempt=1), end, DELIVERED, NOW)

    assert [(a["number"], a["reason"], a["counted"]) for a in status["attempts"]] == [
        (0, "NonZeroExit", True),
        (1, "NonZeroExit", True),
    ]


def test_an_attempt_that_never_had_a_pod_is_not_listed() -> None:
    job = a_job(cancel=True, backoffLimit=1, status=retrying(an_attempt(0)))

    status = final_status(job, None, failure(job, Reason.CANCELLED), DELIVERED, NOW)

    assert [a["number"] for a in status["attempts"]] == [0]


@pytest.mark.parametrize("reason", [Reason.COMPLETED, Reason.CANCELLED])
def test_a_success_or_a_stop_does_not_count_towards_the_limit(reason: Reason) -> None:
    result = a_result() if reason is Reason.COMPLETED else a_failed_result(143, reason="Cancelled")

    status = status_of(result, pod=a_running_pod())

    assert [a["counted"] for a in status["attempts"]] == [False]


# Progress.


@pytest.mark.parametrize("pod", [None, a_pod()], ids=["no pod", "a pod"])
def test_progress_names_the_pod_if_there_is_one(pod: Pod | None) -> None:
    status = progress_status(a_job(), pod, Phase.PENDING, Reason.POD_REJECTED, "exceeded quota")

    named = {"podName": POD_NAME, "startTime": CREATED_TEXT} if pod else {}
    assert status == {
        "observedGeneration": 1,
        "phase": "Pending",
        "reason": "PodRejected",
        "message": "exceeded quota",
        "requestId": JOB_UID,
        **named,
    }


def test_a_job_began_when_its_first_pod_did() -> None:
    job = a_job(status={"startTime": CREATED_TEXT})

    status = progress_status(job, a_pod(age=100), Phase.RUNNING, Reason.EXECUTING, "")

    assert status["startTime"] == CREATED_TEXT
