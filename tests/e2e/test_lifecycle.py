"""Cancel, suspend, retry and TTL, as a user of batch/v1 Job expects."""

import json

from nanogrid import names
from scripts.devaccess import DevAccess
from support.kubectl import KubectlError, Namespace, condition, eventually, in_redis, inline

SLEEPER = """
import signal, sys, time
def stop(number, frame):
    print('stopping', flush=True)
    open('output/left.txt', 'w').write('partial')
    sys.exit(5)
signal.signal(signal.SIGTERM, stop)
print('begin', flush=True)
time.sleep(600)
"""
STUBBORN = """
import signal, subprocess, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen(['sh', '-c', 'trap "" TERM; sleep 600'], start_new_session=True)
print('begin', flush=True)
time.sleep(600)
"""


def runs(namespace: Namespace, name: str) -> bool:
    """Whether a sandbox container of the job runs in a pod that is not terminating."""
    pods = [p for p in namespace.pods(name) if not p["metadata"].get("deletionTimestamp")]
    states = [
        c["state"]
        for p in pods
        for c in p["status"].get("containerStatuses", [])
        if c["name"] == names.CONTAINER_SANDBOX
    ]
    return any("running" in s for s in states)


def test_cancel_keeps_outputs_and_result(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    namespace.apply(inline("stopped", SLEEPER, requestId=request_id))
    eventually("the code runs", lambda: runs(namespace, "stopped"))

    namespace.patch("stopped", cancel=True)
    status = namespace.finished("stopped")

    assert (status["phase"], status["reason"]) == ("Failed", "Cancelled")
    assert status["result"]["status"] == "FAILED"
    assert status["result"]["exitCode"] == 5
    assert status["result"]["stdout"] == "begin\nstopping\n"
    (output,) = status["result"]["outputFiles"]
    key = namespace.key(f"outputs/{request_id}/.partial/left.txt")
    assert output == f"s3://{dev.bucket}/{key}"
    assert '"reason":"Cancelled"' in in_redis(dev, request_id)
    key = namespace.key(names.result_object(request_id))
    stored = dev.s3.get_object(Bucket=dev.bucket, Key=key)
    assert b'"reason":"Cancelled"' in stored["Body"].read()
    eventually("no pod", lambda: not namespace.pods("stopped"), 30)


def test_cancel_before_the_start_gives_a_result_without_a_pod(namespace: Namespace) -> None:
    status = namespace.run(inline("never", "print(1)", cancel=True))

    assert (status["phase"], status["reason"]) == ("Failed", "Cancelled")
    assert "exitCode" not in status["result"]
    assert namespace.pods("never") == []


def test_code_that_ignores_sigterm_is_killed_after_the_grace_period(namespace: Namespace) -> None:
    namespace.apply(inline("stubborn", STUBBORN, terminationGracePeriodSeconds=1))
    eventually("the code runs", lambda: runs(namespace, "stubborn"))

    namespace.patch("stubborn", cancel=True)
    status = namespace.finished("stubborn", 30)

    assert status["reason"] == "Cancelled"
    assert (status["result"]["exitCode"], status["result"]["signal"]) == (137, "SIGKILL")
    assert status["result"]["stdout"] == "begin\n"


def test_active_deadline_ends_the_job(namespace: Namespace) -> None:
    status = namespace.run(inline("deadline", SLEEPER, activeDeadlineSeconds=4))

    assert (status["reason"], status["result"]["status"]) == ("DeadlineExceeded", "FAILED")
    assert status["result"]["stdout"].startswith("begin\n")


def test_suspended_job_has_no_pod_until_it_is_resumed(namespace: Namespace) -> None:
    namespace.apply(inline("asleep", "print('ran')", suspend=True))
    eventually("phase", lambda: namespace.status("asleep").get("phase") == "Suspended", 10)
    assert namespace.pods("asleep") == []

    namespace.patch("asleep", suspend=False)
    status = namespace.finished("asleep")

    assert status["result"]["stdout"] == "ran\n"


def test_suspending_a_running_job_stops_it_and_resuming_starts_a_new_attempt(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    code = "import os, time; print('go', flush=True); time.sleep(3)"
    namespace.apply(inline("paused", code, requestId=request_id))
    eventually("the code runs", lambda: runs(namespace, "paused"))

    namespace.patch("paused", suspend=True)
    eventually("phase", lambda: namespace.status("paused").get("phase") == "Suspended", 30)
    assert not in_redis(dev, request_id), "no result while it is suspended"

    namespace.patch("paused", suspend=False)
    status = namespace.finished("paused")
    first, last = status["attempts"]
    assert (first["reason"], first["counted"]) == ("Suspended", False)
    assert last["reason"] == "Completed"
    assert status["result"]["attempt"] == 1


def test_ttl_deletes_the_finished_job(namespace: Namespace) -> None:
    namespace.run(inline("brief", "print(1)", ttlSecondsAfterFinished=2))

    def deleted() -> bool:
        try:
            namespace.get("brief")
        except KubectlError as e:
            return "NotFound" in str(e)
        return False

    eventually("the job is deleted", deleted, 20)
    eventually("its pod too", lambda: not namespace.pods("brief"), 30)


def test_backoff_limit_bounds_the_attempts(namespace: Namespace) -> None:
    status = namespace.run(
        inline(
            "again",
            "import sys; sys.exit(7)",
            backoffLimit=2,
            failurePolicy={"backoff": {"initialSeconds": 0}},
        )
    )

    assert (status["phase"], status["reason"]) == ("Failed", "NonZeroExit")
    assert [a["exitCode"] for a in status["attempts"]] == [7, 7, 7]
    assert [a["number"] for a in status["attempts"]] == [0, 1, 2]
    assert len(namespace.pods("again")) == 3
    events = namespace.kubectl("get", "events", "-o", "custom-columns=R:.reason", "--no-headers")
    assert events.split().count("Retrying") == 2


def test_rules_by_exit_code(namespace: Namespace) -> None:
    rules = [
        {"onExitCodes": {"operator": "In", "values": [9]}, "action": "FailJob"},
        {"onReasons": ["NonZeroExit"], "action": "Count"},
    ]
    status = namespace.run(
        inline("ruled", "import sys; sys.exit(9)", backoffLimit=5, failurePolicy={"rules": rules})
    )

    assert [a["exitCode"] for a in status["attempts"]] == [9]


def test_out_of_memory_is_retried_with_more(namespace: Namespace) -> None:
    rules = [
        {
            "onReasons": ["OOMKilled"],
            "action": "RetryWithMoreMemory",
            "memory": {"factor": "2", "max": "512Mi"},
        }
    ]
    status = namespace.run(
        inline(
            "grows",
            "hog = bytearray(150 << 20); print(len(hog))",
            resources={"limits": {"memory": "64Mi"}},
            failurePolicy={"rules": rules, "backoff": {"initialSeconds": 0}},
        )
    )

    assert status["phase"] == "Succeeded"
    assert [(a["reason"], a["memoryLimit"]) for a in status["attempts"]] == [
        ("OOMKilled", "64Mi"),
        ("OOMKilled", "128Mi"),
        ("Completed", "256Mi"),
    ]
    assert status["attempts"][-1]["peakMemoryBytes"] > 150 << 20


def test_evicted_pod_is_retried_without_counting(namespace: Namespace) -> None:
    code = "import time; print('go', flush=True); time.sleep(4)"
    namespace.apply(
        inline(
            "moved", code, failurePolicy={"rules": [{"onReasons": ["Evicted"], "action": "Ignore"}]}
        )
    )
    eventually("the code runs", lambda: runs(namespace, "moved"))
    (pod,) = namespace.pods("moved")
    namespace.evict(pod)

    status = namespace.finished("moved")
    assert [(a["reason"], a["counted"]) for a in status["attempts"]] == [
        ("Evicted", False),
        ("Completed", False),
    ]


def test_refusal_that_ends_in_time_is_not_a_failure(namespace: Namespace) -> None:
    namespace.kubectl("create", "quota", "none", "--hard=pods=0")
    namespace.apply(inline("patient", "print('ran')", timeouts={"startupSeconds": 60}))
    eventually("shown", lambda: namespace.status("patient").get("reason") == "PodRejected", 5)
    assert "exceeded quota" in namespace.status("patient")["message"]

    namespace.kubectl("delete", "quota", "none")

    assert namespace.finished("patient")["result"]["stdout"] == "ran\n"


def test_missing_service_account_is_shown_and_ends_the_job(namespace: Namespace) -> None:
    namespace.apply(
        inline("whose", "print(1)", serviceAccountName="nobody", timeouts={"startupSeconds": 6})
    )
    eventually("shown", lambda: namespace.status("whose").get("reason") == "PodRejected", 5)
    status = namespace.finished("whose")

    assert status["reason"] == "PodRejected"
    assert 'serviceaccount "nobody" not found' in status["message"]


def test_events_show_the_jobs_progress(namespace: Namespace) -> None:
    namespace.run(inline("events", "import time; time.sleep(3)"))

    def reasons() -> set[str]:
        text = namespace.kubectl("events", "--for", "ej/events", "-o", "json")
        return {e["reason"] for e in json.loads(text)["items"]}

    eventually("events", lambda: reasons() >= {"PodCreated", "Executing", "Completed"})


def test_conditions_and_timings_of_a_finished_job(namespace: Namespace) -> None:
    status = namespace.run(inline("timed", "print(1)"))

    assert condition(status, "Finished")["reason"] == "Completed"
    assert {"executionMillis", "startMillis", "totalMillis"} <= set(status["timings"])
