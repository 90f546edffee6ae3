"""Jobs that fail: each has its own reason, and no code runs before its input is complete."""

from typing import Any

import pytest

from nanogrid import names
from scripts.devaccess import DevAccess
from support.dev_objects import put_object
from support.kubectl import Namespace, condition, eventually, in_redis, inline, job, zip_of

pytestmark = pytest.mark.security

# The marker is uploaded if and only if the code ran.
MARKER = "open('output/marker', 'w').write('ran')"
RUN_MARKER = ["python3", "-c", MARKER]
EMPTY_ZIP = b"PK\x05\x06" + bytes(16) + b"\x0c\x00" + b"empty folder"  # no entry; 34 bytes


def markers(namespace: Namespace, dev: DevAccess, request_id: str) -> list[str]:
    """The marker files of a request in S3."""
    prefix = namespace.key(names.outputs_prefix(request_id))
    listed = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=prefix)
    return [o["Key"] for o in listed.get("Contents", [])]


def assert_never_ran(namespace: Namespace, dev: DevAccess, name: str, request_id: str) -> None:
    assert markers(namespace, dev, request_id) == []
    state = namespace.sandbox(name)
    assert "running" not in state
    started = (state.get("terminated") or {}).get("startedAt")
    assert not started, f"the sandbox container was started: {state}"


def wrong_s3_keys(namespace: Namespace) -> None:
    """Create S3 keys in the namespace that S3 does not know; the operator does not replace them."""
    keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "else"}
    literals = [f"--from-literal={name}={value}" for name, value in keys.items()]
    namespace.kubectl("create", "secret", "generic", "nanogrid-s3", *literals)


def failed(status: dict[str, Any]) -> tuple[str, str, str]:
    """Phase, reason and the result's status; checks that all places show the same."""
    assert condition(status, "Failed")["reason"] == status["reason"]
    assert condition(status, "Finished")["status"] == "True"
    assert status["result"]["reason"] == status["reason"]
    assert status["message"], "a failure has a message"
    return status["phase"], status["reason"], status["result"]["status"]


def test_marker_exists_when_code_runs(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    """The positive control for the tests that check its absence."""
    key = put_object(dev, namespace.key(f"t/{request_id}/v1.zip"), zip_of(main__py=MARKER))
    namespace.run(job("control", requestId=request_id, code={"s3": {"key": key}}))

    marker = namespace.key(f"outputs/{request_id}/marker")
    assert markers(namespace, dev, request_id) == [marker]


def test_empty_zip_has_its_reason_and_nothing_runs(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    assert len(EMPTY_ZIP) == 34
    key = put_object(dev, namespace.key(f"t/{request_id}/v1.zip"), EMPTY_ZIP)

    status = namespace.run(
        job(
            "empty",
            requestId=request_id,
            code={"s3": {"key": key}},
            command=RUN_MARKER,
        )
    )

    assert failed(status) == ("Failed", "EmptyArchive", "FAILED")
    assert "34 bytes" in status["message"]
    assert condition(status, "InputsSynced")["status"] == "False"
    assert_never_ran(namespace, dev, "empty", request_id)


@pytest.mark.parametrize(
    ("kind", "source"),
    [("missing-key", {"key": "t/nowhere/data.csv"}), ("empty-prefix", {"prefix": "t/nowhere/"})],
)
def test_missing_input_has_its_reason_and_nothing_runs(
    namespace: Namespace, dev: DevAccess, request_id: str, kind: str, source: dict[str, str]
) -> None:
    source = {field: namespace.key(name) for field, name in source.items()}
    status = namespace.run(
        inline(kind, MARKER, requestId=request_id, inputs=[{"name": "data", "s3": source}])
    )

    assert failed(status) == ("Failed", "InputNotFound", "FAILED")
    assert next(iter(source.values())) in status["message"], (
        "the message names the missing key or prefix"
    )
    assert_never_ran(namespace, dev, kind, request_id)


def test_wrong_s3_credentials_have_their_reason_and_nothing_runs(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    wrong_s3_keys(namespace)
    key = put_object(dev, namespace.key(f"t/{request_id}/a.txt"), b"a")

    status = namespace.run(
        inline(
            "denied",
            MARKER,
            requestId=request_id,
            inputs=[{"name": "data", "s3": {"key": key}}],
        )
    )

    assert failed(status) == ("Failed", "InputAccessDenied", "FAILED")
    assert_never_ran(namespace, dev, "denied", request_id)


def test_exit_code_and_stderr_are_kept(namespace: Namespace) -> None:
    code = "import sys; print('out'); print('로그', file=sys.stderr); sys.exit(3)"
    status = namespace.run(inline("three", code))

    assert failed(status) == ("Failed", "NonZeroExit", "FAILED")
    assert status["result"]["exitCode"] == 3
    assert (status["result"]["stdout"], status["result"]["stderr"]) == ("out\n", "로그\n")


@pytest.mark.parametrize(
    ("command", "reason", "message"),
    [
        (["python3 main.py"], "EntrypointNotFound", 'write ["python3", "main.py"]'),
        (["./main.py"], "EntrypointNotExecutable", "run chmod +x"),
        (["python3", "-c", "pass", "x" * 4000], "Completed", ""),
    ],
)
def test_a_program_that_does_not_start_says_why(
    namespace: Namespace, command: list[str], reason: str, message: str
) -> None:
    status = namespace.run(inline("start", "print(1)", command=command, backoffLimit=2))

    assert status["reason"] == reason
    assert message in status["message"]
    assert len(status.get("attempts") or []) <= 1  # another attempt would change nothing


def test_python_is_a_name_of_python3(namespace: Namespace) -> None:
    status = namespace.run(inline("python", "print('hello')", command=["python", "main.py"]))

    assert (status["phase"], status["result"]["stdout"]) == ("Succeeded", "hello\n")


def test_timeout_keeps_the_printed_output(namespace: Namespace) -> None:
    code = "import time\nprint('partial', flush=True)\ntime.sleep(600)"
    status = namespace.run(inline("late", code, timeouts={"executionSeconds": 4}))

    assert failed(status) == ("Failed", "ExecutionTimeout", "TIMEOUT")
    assert status["result"]["stdout"] == "partial\n"
    assert status["result"]["durationMillis"] >= 4000


def test_exceeded_memory_has_its_reason(namespace: Namespace) -> None:
    code = "print('start', flush=True)\nhog = bytearray(512 << 20)\nprint(len(hog))"
    status = namespace.run(inline("hog", code, resources={"limits": {"memory": "64Mi"}}))

    assert failed(status) == ("Failed", "OOMKilled", "FAILED")
    assert status["result"]["exitCode"] == 137
    assert status["result"]["stdout"] == "start\n"
    assert status["peakMemory"] == "64Mi/64Mi"
    assert "limit" in status["result"]["optimizationTip"]


def test_upload_failure_after_success_is_a_failure(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    wrong_s3_keys(namespace)
    code = "open('output/a.txt', 'w').write('a'); print('done')"
    status = namespace.run(inline("nowhere", code, requestId=request_id))

    assert failed(status) == ("Failed", "OutputUploadFailed", "FAILED")
    assert (status["result"]["exitCode"], status["result"]["stdout"]) == (0, "done\n")
    assert condition(status, "OutputsUploaded")["status"] == "False"
    # S3 did not accept the result either, but Redis has it.
    assert markers(namespace, dev, request_id) == []
    assert in_redis(dev, request_id)


def test_unschedulable_job_shows_its_reason_and_ends(namespace: Namespace) -> None:
    resources = {"limits": {"memory": "900Gi"}}
    for name, seconds in (("waits", 600), ("huge", 15)):
        timeouts = {"startupSeconds": seconds}
        namespace.apply(inline(name, MARKER, resources=resources, timeouts=timeouts))

    eventually(
        "the reason is shown", lambda: namespace.status("waits").get("reason") == "Unschedulable"
    )
    assert namespace.status("waits")["phase"] == "Pending"
    assert failed(namespace.finished("huge")) == ("Failed", "Unschedulable", "FAILED")
    eventually("no pod is left", lambda: not namespace.pods("huge"))


def test_missing_image_shows_its_reason_and_ends(namespace: Namespace) -> None:
    # This port is closed: the pull fails at once, not after a DNS timeout.
    runtime = {"image": "127.0.0.1:9/none:1"}
    for name, seconds in (("waits", 600), ("imageless", 30)):
        timeouts = {"startupSeconds": seconds}
        namespace.apply(inline(name, MARKER, runtime=runtime, timeouts=timeouts))

    eventually(
        "the reason is shown", lambda: namespace.status("waits").get("reason") == "ImagePullFailed"
    )
    assert namespace.status("waits")["phase"] == "Pending"
    status = namespace.finished("imageless")
    assert failed(status) == ("Failed", "ImagePullFailed", "FAILED")
    assert "127.0.0.1:9/none:1" in status["message"]


def test_quota_refusal_shows_the_api_servers_message(namespace: Namespace) -> None:
    namespace.kubectl("create", "quota", "none", "--hard=pods=0")
    status = namespace.run(inline("over-quota", MARKER, timeouts={"startupSeconds": 8}))

    assert failed(status) == ("Failed", "PodRejected", "FAILED")
    assert "exceeded quota" in status["message"]
