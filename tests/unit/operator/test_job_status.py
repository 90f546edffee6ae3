"""The status of a job: complete, bounded, and valid for the API server's schema."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanogrid import wire
from nanogrid.reasons import HELP, Reason
from nanogrid.types import Json
from nanogrid_operator.decision.outcome import Delivery, sync_failure
from nanogrid_operator.model.pod_facts import Ended
from nanogrid_operator.status.conditions import Fact, condition
from nanogrid_operator.status.job import (
    delivered_status,
    final_status,
)
from support.builders import (
    CREATED_TEXT,
    JOB_UID,
    MIB,
    POD_NAME,
    a_failed_result,
    a_job,
    a_lost_result,
    a_pod,
    a_result,
    a_running_pod,
    merge_patch,
)
from support.final_statuses import DELIVERED, NOW, NOW_TEXT, conditions_of, status_of

# Complete statuses.


def test_the_status_of_a_successful_job() -> None:
    notes = ["s3://b/code.zip: 1 name without the UTF-8 flag, read as cp437: Größe.txt"]
    inputs = wire.InputReport(files=3, bytes=112_391, duration_millis=80, retries=0, notes=notes)

    status = status_of(a_result(), pod=a_running_pod(), inputs=inputs)

    done = {"lastTransitionTime": NOW_TEXT, "observedGeneration": 1}
    message = "The code exited with 0 and its outputs are stored."
    assert status == {
        "observedGeneration": 1,
        "phase": "Succeeded",
        "reason": "Completed",
        "message": message,
        "requestId": JOB_UID,
        "podName": POD_NAME,
        "startTime": CREATED_TEXT,
        "start": "Cold",
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
            {"type": kind, "status": "True", "reason": reason, "message": text, **done}
            for kind, reason, text in (
                ("InputsSynced", "Synced", f"3 files, 112391 B in 80 ms. {notes[0]}"),
                ("SandboxReady", "Executing", ""),
                ("Executed", "Completed", message),
                ("OutputsUploaded", "NoOutputs", ""),
                ("ResultDelivered", "Delivered", "2 subscribers"),
                ("Complete", "Completed", message),
                ("Finished", "Completed", message),
            )
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
        (
            a_failed_result(126, reason="EntrypointNotExecutable"),
            {"phase": "Failed", "Executed": "False", "SandboxReady": "False"},
        ),
        (
            a_failed_result(126, reason="ProcessRefused"),
            {"phase": "Failed", "Executed": "False", "SandboxReady": "False"},
        ),
    ],
    ids=["exit code", "timeout", "upload", "no entrypoint", "no permission", "no process"],
)
def test_the_conditions_of_a_failed_job(result: wire.Result, want: Json) -> None:
    status = status_of(result, pod=a_running_pod())

    found = {**{k: v[0] for k, v in conditions_of(status).items()}, **status}
    assert {key: found[key] for key in want} == want


NOT_RUN = [r for r in Reason if "did not run" in HELP[r].meaning]


@pytest.mark.parametrize(
    "reason",
    NOT_RUN,
)
def test_a_failed_sync_has_its_conditions(reason: Reason) -> None:
    text = wire.dumps(wire.SyncFailure(reason=reason.value, message="s3://user-data/in/a.csv"))
    end = sync_failure(a_job(), Ended(1, "Error", text))

    status = final_status(a_job(), a_pod(), end, DELIVERED, NOW)

    assert status["reason"] == reason.value
    assert "s3://user-data/in/a.csv" in status["message"]
    found = conditions_of(status)
    assert found["InputsSynced"] == ("False", reason.value)
    assert found["Executed"] == ("False", "NotExecuted")
    assert "OutputsUploaded" not in found
    assert "duration" not in status


@pytest.mark.parametrize("code", [None, 0, 137])
def test_every_end_has_finished_and_one_of_complete_and_failed(code: int | None) -> None:
    for reason in Reason:
        status = status_of(a_failed_result(code, reason=reason.value))

        found = conditions_of(status)
        assert found["Finished"] == ("True", reason.value)
        assert len({"Complete", "Failed"} & set(found)) == 1
        assert len(found) == len(status["conditions"])
        assert ("Complete" in found) == (status["phase"] == "Succeeded")


def test_output_files_are_counted() -> None:
    file = wire.OutputFile(path="a", url="s3://b/a", bytes=1, sha256="", content_type="text/plain")

    status = status_of(a_result(outputs=[file, file], output_files=["a", "a"]))

    (found,) = [c for c in status["conditions"] if c["type"] == "OutputsUploaded"]
    assert (found["reason"], found["message"]) == ("Uploaded", "2 files")


@pytest.mark.parametrize(("count", "truth", "files"), [(0, "False", ""), (1, "True", "1 file. ")])
def test_patterns_that_match_nothing_are_a_condition(count: int, truth: str, files: str) -> None:
    file = wire.OutputFile(path="a", url="s3://b/a", bytes=1, sha256="", content_type="text/plain")
    note = "2 files match no include pattern: b, c."

    status = status_of(a_result(outputs=[file] * count, outputs_note=note))

    (found,) = [c for c in status["conditions"] if c["type"] == "OutputsUploaded"]
    assert (found["status"], found["reason"]) == (truth, "OutputsNotMatched")
    assert found["message"] == files + note
    assert status["phase"] == "Succeeded"


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
def test_the_delivery_has_a_condition(delivery: Delivery, want: tuple[str, str]) -> None:
    status = status_of(a_result(), delivery=delivery)

    assert conditions_of(status)["ResultDelivered"] == want
    assert status["delivery"]["state"] == delivery.state


def test_an_unknown_number_of_subscribers_is_not_shown_as_zero() -> None:
    earlier = Delivery(state="Delivered", message="delivered by an earlier try")

    status = status_of(a_result(), delivery=earlier)

    (found,) = [c for c in status["conditions"] if c["type"] == "ResultDelivered"]
    assert found["message"] != "0 subscribers"


def test_a_late_delivery_changes_only_its_own_condition() -> None:
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
def test_the_result_on_the_status_can_be_delivered_later(result: wire.Result) -> None:
    status = status_of(result)

    assert wire.from_dict(wire.Result, status["result"]) == result


@pytest.mark.parametrize("result", [a_result(), a_lost_result(function_id="f")])
def test_a_result_with_null_fields_can_be_delivered_later(result: wire.Result) -> None:
    status = status_of(result)

    assert wire.from_dict(wire.Result, status["result"]) == result


# Conditions.


@pytest.mark.parametrize(
    ("old", "want"), [("True", CREATED_TEXT), ("False", NOW_TEXT), (None, NOW_TEXT)]
)
def test_a_condition_keeps_its_time_while_its_status_stays(old: str | None, want: str) -> None:
    before = {"type": "Executed", "status": old, "lastTransitionTime": CREATED_TEXT}
    job = a_job(status={"conditions": [before] if old else []})

    after = condition(job, Fact("Executed", True, Reason.COMPLETED, "done"), NOW)

    assert after == {
        "type": "Executed",
        "status": "True",
        "reason": "Completed",
        "message": "done",
        "lastTransitionTime": want,
        "observedGeneration": 1,
    }
