"""Cancel, suspend, retry and TTL, as a user of batch/v1 Job expects."""

import json
from collections.abc import Iterator

import pytest

from nanogrid import names
from scripts.devaccess import DevAccess
from support.job_record import END_MOVED
from support.kubectl import (
    KubectlError,
    Namespace,
    condition,
    eventually,
    in_redis,
    inline,
    kubectl,
)
from support.release import IN_RELEASE, OPERATOR, wait_for_operator

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


# The pod of the first attempt runs until it is stopped; that of the next one ends.
FIRST_SLEEPS = """
import socket, time
print('go', flush=True)
if socket.gethostname().endswith('-0'):
    time.sleep(600)
"""


def test_cancel_keeps_outputs_and_result(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    namespace.apply(inline("stopped", SLEEPER, requestId=request_id))
    eventually("the code runs", lambda: namespace.prints("stopped", "begin"))

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
    eventually("no pod", lambda: not namespace.pods("stopped"))


def test_cancel_before_the_start_gives_a_result_without_a_pod(namespace: Namespace) -> None:
    status = namespace.run(inline("never", "print(1)", cancel=True))

    assert (status["phase"], status["reason"]) == ("Failed", "Cancelled")
    assert "exitCode" not in status["result"]
    assert namespace.pods("never") == []


def test_code_that_ignores_sigterm_is_killed_after_the_grace_period(namespace: Namespace) -> None:
    namespace.apply(inline("stubborn", STUBBORN, terminationGracePeriodSeconds=1))
    eventually("the code runs", lambda: namespace.prints("stubborn", "begin"))

    namespace.patch("stubborn", cancel=True)
    status = namespace.finished("stubborn")

    assert status["reason"] == "Cancelled"
    assert (status["result"]["exitCode"], status["result"]["signal"]) == (137, "SIGKILL")
    assert status["result"]["stdout"] == "begin\n"


def test_active_deadline_ends_the_job(namespace: Namespace) -> None:
    status = namespace.run(inline("deadline", SLEEPER, activeDeadlineSeconds=10))

    assert (status["reason"], status["result"]["status"]) == ("DeadlineExceeded", "FAILED")
    assert status["result"]["stdout"].startswith("begin\n")


def test_suspended_job_has_no_pod_until_it_is_resumed(namespace: Namespace) -> None:
    namespace.apply(inline("asleep", "print('ran')", suspend=True))
    eventually("phase", lambda: namespace.status("asleep").get("phase") == "Suspended")
    assert namespace.pods("asleep") == []

    namespace.patch("asleep", suspend=False)
    status = namespace.finished("asleep")

    assert status["result"]["stdout"] == "ran\n"


def test_suspending_a_running_job_stops_it_and_resuming_starts_a_new_attempt(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    namespace.apply(inline("paused", FIRST_SLEEPS, requestId=request_id))
    eventually("the code runs", lambda: namespace.prints("paused", "go"))

    namespace.patch("paused", suspend=True)
    eventually("phase", lambda: namespace.status("paused").get("phase") == "Suspended")
    assert not in_redis(dev, request_id), "no result while it is suspended"

    namespace.patch("paused", suspend=False)
    status = namespace.finished("paused")
    first, last = status["attempts"]
    assert (first["reason"], first["counted"]) == ("Suspended", False)
    assert last["reason"] == "Completed"
    assert status["result"]["attempt"] == 1


def test_ttl_deletes_the_finished_job(namespace: Namespace) -> None:
    namespace.run(inline("brief", "print(1)", ttlSecondsAfterFinished=2))

    eventually("the job is deleted", lambda: not exists(namespace, "brief"))
    eventually("its pod too", lambda: not namespace.pods("brief"))


@pytest.fixture
def default_ttl_of_a_day(cluster: None) -> Iterator[None]:
    """The operator with a default time to live. No job of another test ended a day ago."""
    setting = "NANOGRID_TTL_SECONDS_AFTER_FINISHED"
    kubectl(*IN_RELEASE, "set", "env", OPERATOR, f"{setting}=86400")
    try:
        wait_for_operator()
        yield
    finally:
        kubectl(*IN_RELEASE, "set", "env", OPERATOR, f"{setting}-")
        wait_for_operator()


def test_a_default_time_to_live_deletes_finished_jobs_except_those_to_keep(
    namespace: Namespace, default_ttl_of_a_day: None
) -> None:
    kept = inline("kept", "print(1)")
    kept["metadata"]["annotations"] = {names.ANNOTATION_KEEP: "true"}
    longer = inline("longer", "print(1)", ttlSecondsAfterFinished=31_536_000)
    jobs = [inline("recent", "print(1)"), kept, longer, inline("old", "print(1)")]
    for job in jobs:
        job["metadata"].setdefault("annotations", {})[END_MOVED] = ""
        namespace.run(job)
    # The operator counts from the time of the end: the kept and the old job ended years ago now.
    ended = json.dumps({"status": {"completionTime": "2024-01-01T00:00:00Z"}})
    patch = ("--subresource=status", "--type=merge", "-p", ended)
    namespace.kubectl("patch", "ej", "kept", *patch)
    namespace.kubectl("annotate", "ej", "recent", "note=changed")  # an event, as for the others
    namespace.kubectl("patch", "ej", "old", *patch)

    eventually("the old job is deleted", lambda: not exists(namespace, "old"))
    eventually("its pod too", lambda: not namespace.pods("old"))
    assert all(exists(namespace, name) for name in ("recent", "kept", "longer"))
    # The annotation alone kept it: without it, the default holds.
    namespace.kubectl("annotate", "ej", "kept", f"{names.ANNOTATION_KEEP}-")
    eventually("the kept job is deleted", lambda: not exists(namespace, "kept"))


def exists(namespace: Namespace, name: str) -> bool:
    try:
        namespace.get(name)
    except KubectlError as e:
        if "NotFound" not in str(e):
            raise
        return False
    return True


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

    def retries() -> int:
        shown = ("-o", "custom-columns=R:.reason", "--no-headers")
        return namespace.kubectl("get", "events", *shown).split().count("Retrying")

    eventually("an Event for each retry", lambda: retries() == 2)


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
    rules = [{"onReasons": ["Evicted"], "action": "Ignore"}]
    namespace.apply(inline("moved", FIRST_SLEEPS, failurePolicy={"rules": rules}))
    eventually("the code runs", lambda: namespace.prints("moved", "go"))
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
    eventually("shown", lambda: namespace.status("patient").get("reason") == "PodRejected")
    assert "exceeded quota" in namespace.status("patient")["message"]

    namespace.kubectl("delete", "quota", "none")

    assert namespace.finished("patient")["result"]["stdout"] == "ran\n"


def test_missing_service_account_is_shown_and_ends_the_job(namespace: Namespace) -> None:
    namespace.apply(
        inline("whose", "print(1)", serviceAccountName="nobody", timeouts={"startupSeconds": 6})
    )
    eventually("shown", lambda: namespace.status("whose").get("reason") == "PodRejected")
    status = namespace.finished("whose")

    assert status["reason"] == "PodRejected"
    assert 'serviceaccount "nobody" not found' in status["message"]


def test_events_show_how_a_job_starts_and_fails(namespace: Namespace) -> None:
    namespace.run(inline("works", "import time; time.sleep(3)"))
    namespace.run(inline("fails", "raise SystemExit(3)"))

    def reasons(job: str) -> list[str]:
        text = namespace.kubectl("events", "--for", f"ej/{job}", "-o", "json")
        return sorted(e["reason"] for e in json.loads(text)["items"])

    eventually("events", lambda: reasons("fails") == ["NonZeroExit", "PodCreated"])
    assert reasons("works") == ["PodCreated"]


def test_conditions_and_timings_of_a_finished_job(namespace: Namespace) -> None:
    status = namespace.run(inline("timed", "print(1)"))

    assert condition(status, "Finished")["reason"] == "Completed"
    assert {"executionMillis", "startMillis", "totalMillis"} <= set(status["timings"])
