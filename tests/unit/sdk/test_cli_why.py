"""``why``: cause, evidence, hint and timeline of a job."""

from nanogrid.cli import why
from nanogrid.cli.app.job_tables import job_card
from nanogrid.cli.app.progress import describe
from nanogrid.reasons import HELP, Reason, sentence
from nanogrid.types import Json
from support.cli_fakes import ended, job, result_of


def event(reason: str, message: str, at: str, kind: str = "Normal") -> Json:
    return {
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": at,
        "metadata": {"creationTimestamp": at},
    }


def condition(kind: str, status: str, reason: str, message: str = "") -> Json:
    at = "2026-01-02T03:04:09Z"
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": at,
    }


def test_a_job_out_of_memory() -> None:
    found_job = ended(
        "j", status="FAILED", reason="OOMKilled", exitCode=137, signal="SIGKILL", stderr="a\n\nb\n"
    )
    status = found_job["status"]
    status["peakMemory"] = "256Mi/256Mi"
    status["message"] = f"{HELP[Reason.OOM_KILLED].meaning} {HELP[Reason.OOM_KILLED].hint}"
    status["timings"] = {"executionMillis": 8200, "totalMillis": 9000, "uploadMillis": None}
    found = why.diagnose(found_job, None, [])
    assert found.reason == "OOMKilled"
    assert found.cause == HELP[Reason.OOM_KILLED].meaning
    assert "--memory" in found.hint
    assert "exit code 137, signal SIGKILL" in found.evidence
    assert "peak memory 256Mi/256Mi" in found.evidence
    assert found.evidence[-2:] == ["stderr: a", "stderr: b"]
    assert found.cause not in found.evidence
    assert found.phases == [("code ran", 8200), ("whole job", 9000)]
    text = why.to_text(found)
    assert text.startswith("jobs/j  Failed: OOMKilled\n")
    assert "8.2s  code ran" in text


def test_text_of_a_job_does_not_control_the_terminal() -> None:
    found_job = ended("j", status="FAILED", reason="NonZeroExit", exitCode=1, stderr="\x1b[2Jred")
    found_job["status"]["message"] = "It ended.\x07"
    text = why.to_text(why.diagnose(found_job, None, [])) + job_card(found_job, 0, wide=True)
    assert "stderr: \\x1b[2Jred" in text
    assert "It ended.\\x07" in text
    assert text.replace("\n", "").isprintable()


def test_an_unprocessed_job_points_to_doctor() -> None:
    found = why.diagnose(job("j"), None, [])
    assert (found.phase, found.reason) == ("Pending", "")
    assert "doctor" in found.hint


def test_an_unschedulable_pod_is_reported_before_the_operator_does() -> None:
    pod = {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-02T03:04:06Z"},
        "status": {
            "conditions": [
                {"status": "False", "reason": "Unschedulable", "message": "0/3 nodes available"}
            ]
        },
    }
    found = why.diagnose(job("j"), pod, [])
    assert found.reason == "Unschedulable"
    assert "scheduler: 0/3 nodes available" in found.evidence
    assert [step.what for step in found.timeline] == ["job created", "pod created"]


def test_the_position_of_a_queued_job_is_evidence() -> None:
    where = "Position 3 of 12 in the queue of the namespace: 2 pods are live (limits.jobs of x)"
    status: Json = {
        "phase": "Pending",
        "reason": "Queued",
        "message": sentence(Reason.QUEUED, where),
    }
    body: Json = {"metadata": {"name": "sales", "namespace": "team-a"}, "status": status}

    assert why.diagnose(body, None, []).evidence == [f"{where}."]


def test_waiting_containers_and_false_conditions_are_evidence() -> None:
    waiting = job("j", "Pending", "ImagePullFailed")
    waiting["status"]["conditions"] = [
        condition("ResultDelivered", "False", "RedisUnavailable", "no answer"),
        condition("SandboxReady", "False", "ImagePullFailed"),
    ]
    pod = {
        "metadata": {"name": "p"},
        "status": {
            "containerStatuses": [
                {
                    "name": "sandbox",
                    "state": {"waiting": {"reason": "ErrImagePull", "message": "x"}},
                },
                {"name": "agent", "state": {"waiting": {"reason": "PodInitializing"}}},
            ],
            "initContainerStatuses": [
                {"name": "sync-input", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}
            ],
        },
    }
    found = why.diagnose(waiting, pod, [])
    assert found.evidence == [
        "ResultDelivered: RedisUnavailable no answer",
        "container sync-input exited with 1 Error",
        "container sandbox is waiting: ErrImagePull x",
    ]


def test_the_timeline_is_sorted_and_warnings_are_evidence_once() -> None:
    events = [
        event("FailedMount", "no\nvolume", "2026-01-02T03:04:08Z", "Warning"),
        event("FailedMount", "no volume", "2026-01-02T03:04:09Z", "Warning"),
        event("PodCreated", "made", "2026-01-02T03:04:06Z"),
    ]
    retried = job("j", "Running", "Executing")
    retried["status"]["attempts"] = [
        {
            "number": 0,
            "podName": "p-0",
            "reason": "Evicted",
            "startTime": "2026-01-02T03:04:05.5Z",
            "completionTime": "2026-01-02T03:04:07Z",
        }
    ]
    found = why.diagnose(retried, None, events)
    assert found.evidence == ["event FailedMount: no volume"]
    assert [step.what for step in found.timeline] == [
        "job created",
        "attempt 0 started",
        "event PodCreated",
        "attempt 0 ended",
        "event FailedMount",
        "event FailedMount",
    ]
    assert found.to_json()["timeline"][3]["detail"] == "Evicted, pod p-0"


def test_an_unknown_reason_is_shown_unchanged() -> None:
    newer = job("j", "Failed", "MoonInWrongPhase", result_of("j", status="FAILED"))
    newer["status"]["message"] = "The moon is full."
    found = why.diagnose(newer, None, [])
    assert found.cause == "The moon is full."
    assert found.hint


def test_a_container_that_did_not_start_is_shown_with_the_words_of_the_node() -> None:
    words = "OCI runtime create failed: container init was OOM-killed (memory limit too low?)"
    detail = f"container sandbox: StartError (exit code 128): {words}"
    found_job = job("j", "Pending", "StartFailed")
    found_job["status"]["message"] = sentence(Reason.START_FAILED, detail)
    failed = {"exitCode": 128, "reason": "StartError", "message": words}
    pod = {
        "metadata": {"name": "p", "creationTimestamp": "2026-01-02T03:04:06Z"},
        "status": {"containerStatuses": [{"name": "sandbox", "state": {"terminated": failed}}]},
    }

    found = why.diagnose(found_job, pod, [])

    assert found.cause == HELP[Reason.START_FAILED].meaning
    assert "Raise --memory" in found.hint
    assert f"{detail}." in found.evidence
    assert len([line for line in found.evidence if words in line]) == 1
    assert words in describe(found_job)


IMAGE = "registry.invalid/nope:1"
CAUSE = (
    f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": failed to '
    'do request: Head "https://registry.invalid/v2/nope/manifests/1": dial tcp: lookup '
    "registry.invalid on 10.96.0.10:53: no such host"
)
BACK_OFF = f'Back-off pulling image "{IMAGE}"'
AT = "2026-01-02T03:04:08Z"


def unpullable() -> tuple[Json, Json, list[Json]]:
    """A job whose image does not exist, with its pod and Events, as a cluster has them."""
    waiting = f"ImagePullBackOff {BACK_OFF}: ErrImagePull: {CAUSE}"
    found = job("j", "Failed", "ImagePullFailed")
    status = found["status"]
    status["message"] = sentence(Reason.IMAGE_PULL_FAILED, f"container sandbox: {waiting}")
    status["conditions"] = [
        condition("SandboxReady", "False", "ImagePullFailed", status["message"])
    ]
    state = {"waiting": {"reason": "ImagePullBackOff", "message": f"{BACK_OFF}: {CAUSE}"}}
    pod = {
        "metadata": {"name": "p"},
        "status": {"containerStatuses": [{"name": "sandbox", "state": state}]},
    }
    events = [
        event("Failed", f'Failed to pull image "{IMAGE}": {CAUSE}', AT, "Warning"),
        event("Failed", "Error: ErrImagePull", AT, "Warning"),
        event("Failed", "Error: ImagePullBackOff", AT, "Warning"),
        event("BackOff", BACK_OFF, AT),
        event("Unhealthy", "Readiness probe failed: connection refused", AT, "Warning"),
        event("ImagePullFailed", status["message"], AT, "Warning"),
    ]
    return found, pod, events


def test_one_image_error_is_shown_once() -> None:
    found = why.diagnose(*unpullable())
    (only,) = found.evidence
    assert CAUSE in only
    assert "--image" in found.hint
    text = why.to_text(found)
    assert text.count("no such host") == 1
    assert text.count("Back-off pulling image") == 1
    # The steps stay, and so does their text as data.
    assert text.count("event Failed") == 3
    assert [step.detail for step in found.timeline].count(BACK_OFF) == 1


def test_another_warning_is_evidence_after_an_image_error() -> None:
    found_job, pod, events = unpullable()
    events.append(event("FailedMount", 'secret "database" not found', AT, "Warning"))
    found = why.diagnose(found_job, pod, events)
    assert found.evidence[1:] == ['event FailedMount: secret "database" not found']


def test_memory_is_no_evidence_for_another_failure() -> None:
    tip = "The code used 41Mi of 256Mi. Lower the limit to 64Mi."
    failed = ended("j", status="FAILED", reason="NonZeroExit", exitCode=1, optimizationTip=tip)
    failed["status"]["peakMemory"] = "41Mi/256Mi"
    assert why.diagnose(failed, None, []).evidence == ["exit code 1"]
    # Close to the limit it may be the cause, for example of a MemoryError.
    failed["status"]["peakMemory"] = "250Mi/256Mi"
    assert why.diagnose(failed, None, []).evidence[1:] == ["peak memory 250Mi/256Mi", tip]
    fine = ended("j", optimizationTip=tip)
    fine["status"]["peakMemory"] = "41Mi/256Mi"
    assert why.diagnose(fine, None, []).evidence == ["peak memory 41Mi/256Mi", tip]


def test_what_the_pod_waited_for_is_no_evidence_against_code_that_ran() -> None:
    failed = ended("j", status="FAILED", reason="NonZeroExit", exitCode=1)
    events = [
        event("FailedScheduling", "0/3 nodes are available", AT, "Warning"),
        event("Unhealthy", "Readiness probe failed: connection refused", AT, "Warning"),
    ]
    state = {"terminated": {"exitCode": 1, "reason": "Error"}}
    pod = {
        "metadata": {"name": "p"},
        "status": {"containerStatuses": [{"name": "sandbox", "state": state}]},
    }
    found = why.diagnose(failed, pod, events)
    assert found.evidence == ["exit code 1"]
    assert len(found.timeline) == 4


def test_a_probe_that_failed_is_evidence_where_a_container_did_not_get_ready() -> None:
    probe = event("Unhealthy", "Readiness probe failed: connection refused", AT, "Warning")
    for reason, expected in (("StartupTimeout", 1), ("AgentFailed", 1), ("Unschedulable", 0)):
        found = why.diagnose(job("j", "Failed", reason), None, [probe])
        assert len([one for one in found.evidence if "probe" in one]) == expected, reason


def test_a_restored_job_says_what_shows_it_and_how_it_runs() -> None:
    detail = "It has the label velero.io/restore-name=nightly-1. Its uid is 1-2-3"
    found_job = job("j", phase="Suspended", reason="Restored")
    found_job["status"]["message"] = sentence(Reason.RESTORED, detail)

    found = why.diagnose(found_job, None, [])

    assert found.cause == HELP[Reason.RESTORED].meaning
    assert any(detail in line for line in found.evidence)
    assert "nanogrid.io/start-restored" in found.hint
    assert "nanogrid delete j" in found.hint
    assert describe(found_job).startswith("suspended: Restored, The job comes from a backup")
