"""Jobs that fail: each with its own reason, and no code run before its input is complete."""

from typing import Any

import pytest

from e2e.support import Namespace, condition, eventually, in_redis, inline, job, zip_of
from nanogrid import names
from scripts.devaccess import DevAccess

# Leaves a trace that anybody can check: the marker is uploaded if and only if code ran.
MARKER = "open('output/marker', 'w').write('ran')"
RUN_MARKER = ["python3", "-c", MARKER]
EMPTY_ZIP = b"PK\x05\x06" + bytes(16) + b"\x0c\x00" + b"empty folder"  # no entry; 34 bytes


def markers(dev: DevAccess, request_id: str) -> list[str]:
    """The marker files that the user's code of a request left."""
    listed = dev.s3.list_objects_v2(Bucket=dev.bucket, Prefix=names.outputs_prefix(request_id))
    return [o["Key"] for o in listed.get("Contents", [])]


def assert_never_ran(namespace: Namespace, dev: DevAccess, name: str, request_id: str) -> None:
    assert markers(dev, request_id) == []
    state = namespace.sandbox(name)
    assert "running" not in state
    started = (state.get("terminated") or {}).get("startedAt")
    assert not started, f"the sandbox container was started: {state}"


def wrong_s3_keys(namespace: Namespace) -> None:
    """Give the namespace keys of its own that S3 does not know; the operator leaves them alone."""
    keys = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "else"}
    words = [f"--from-literal={name}={value}" for name, value in keys.items()]
    namespace.kubectl("create", "secret", "generic", "nanogrid-s3", *words)


def failed(status: dict[str, Any]) -> tuple[str, str, str]:
    """Phase, reason and the result's status, the same wherever they are shown."""
    assert condition(status, "Failed")["reason"] == status["reason"]
    assert condition(status, "Finished")["status"] == "True"
    assert status["result"]["reason"] == status["reason"]
    assert status["message"], "a failure explains itself"
    return status["phase"], status["reason"], status["result"]["status"]


def test_marker_is_there_when_code_runs(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    """The positive control of all tests that assert its absence."""
    dev.s3.put_object(Bucket=dev.bucket, Key=f"t/{request_id}/v1.zip", Body=zip_of(main__py=MARKER))
    namespace.run(
        job("control", requestId=request_id, code={"s3": {"key": f"t/{request_id}/v1.zip"}})
    )

    assert markers(dev, request_id) == [f"outputs/{request_id}/marker"]


def test_empty_zip_is_named_and_nothing_runs(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    assert len(EMPTY_ZIP) == 34
    dev.s3.put_object(Bucket=dev.bucket, Key=f"t/{request_id}/v1.zip", Body=EMPTY_ZIP)

    status = namespace.run(
        job(
            "empty",
            requestId=request_id,
            code={"s3": {"key": f"t/{request_id}/v1.zip"}},
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
def test_missing_input_is_named_and_nothing_runs(
    namespace: Namespace, dev: DevAccess, request_id: str, kind: str, source: dict[str, str]
) -> None:
    status = namespace.run(
        inline(kind, MARKER, requestId=request_id, inputs=[{"name": "data", "s3": source}])
    )

    assert failed(status) == ("Failed", "InputNotFound", "FAILED")
    assert next(iter(source.values())) in status["message"], "the message names what is missing"
    assert_never_ran(namespace, dev, kind, request_id)


def test_wrong_s3_credentials_are_named_and_nothing_runs(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    wrong_s3_keys(namespace)
    dev.s3.put_object(Bucket=dev.bucket, Key=f"t/{request_id}/a.txt", Body=b"a")

    status = namespace.run(
        inline(
            "denied",
            MARKER,
            requestId=request_id,
            inputs=[{"name": "data", "s3": {"key": f"t/{request_id}/a.txt"}}],
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


def test_timeout_keeps_what_was_printed(namespace: Namespace) -> None:
    code = "import time\nprint('partial', flush=True)\ntime.sleep(600)"
    status = namespace.run(inline("late", code, timeouts={"executionSeconds": 2}))

    assert failed(status) == ("Failed", "ExecutionTimeout", "TIMEOUT")
    assert status["result"]["stdout"] == "partial\n"
    assert 2000 <= status["result"]["durationMillis"] < 6000


def test_memory_hog_is_named(namespace: Namespace) -> None:
    code = "print('start', flush=True)\nhog = bytearray(512 << 20)\nprint(len(hog))"
    status = namespace.run(inline("hog", code, resources={"limits": {"memory": "64Mi"}}))

    assert failed(status) == ("Failed", "OOMKilled", "FAILED")
    assert status["result"]["exitCode"] == 137
    assert status["result"]["stdout"] == "start\n"
    assert status["peakMemory"] == "64Mi/64Mi"
    assert "limit" in status["result"]["optimizationTip"]


def test_upload_failure_after_success_is_no_success(
    namespace: Namespace, dev: DevAccess, request_id: str
) -> None:
    wrong_s3_keys(namespace)
    code = "open('output/a.txt', 'w').write('a'); print('done')"
    status = namespace.run(inline("nowhere", code, requestId=request_id))

    assert failed(status) == ("Failed", "OutputUploadFailed", "FAILED")
    assert (status["result"]["exitCode"], status["result"]["stdout"]) == (0, "done\n")
    assert condition(status, "OutputsUploaded")["status"] == "False"
    # S3 did not take the result either; Redis has it all the same.
    assert markers(dev, request_id) == []
    assert in_redis(dev, request_id)


def test_unschedulable_job_says_so_and_ends(namespace: Namespace) -> None:
    namespace.apply(
        inline(
            "huge",
            MARKER,
            resources={"limits": {"memory": "900Gi"}},
            timeouts={"startupSeconds": 8},
        )
    )

    eventually(
        "the reason is shown", lambda: namespace.status("huge").get("reason") == "Unschedulable", 8
    )
    assert namespace.status("huge")["phase"] == "Pending"
    assert failed(namespace.finished("huge")) == ("Failed", "Unschedulable", "FAILED")
    eventually("no pod waits for ever", lambda: not namespace.pods("huge"))


def test_missing_image_says_so_and_ends(namespace: Namespace) -> None:
    namespace.apply(
        inline(
            "imageless",
            MARKER,
            # Nobody listens there: the pull fails at once, not after a resolver's patience.
            runtime={"image": "127.0.0.1:9/none:1"},
            timeouts={"startupSeconds": 12},
        )
    )

    eventually(
        "the reason is shown",
        lambda: namespace.status("imageless").get("reason") == "ImagePullFailed",
        8,
    )
    status = namespace.finished("imageless")
    assert failed(status) == ("Failed", "ImagePullFailed", "FAILED")
    assert "127.0.0.1:9/none:1" in status["message"]


def test_quota_refusal_is_shown_in_the_api_servers_words(namespace: Namespace) -> None:
    namespace.kubectl("create", "quota", "none", "--hard=pods=0")
    status = namespace.run(inline("over-quota", MARKER, timeouts={"startupSeconds": 4}))

    assert failed(status) == ("Failed", "PodRejected", "FAILED")
    assert "exceeded quota" in status["message"]
