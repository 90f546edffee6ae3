"""Jobs that refer to a Function, and the runs in the Function's status."""

import hashlib
from typing import Any

import pytest

from nanogrid import names
from nanogrid.types import Json
from scripts.devaccess import DevAccess
from support.kubectl import (
    KubectlError,
    Namespace,
    eventually,
    inline,
    job,
    kubectl,
    kubectl_json,
    zip_of,
)
from support.release import (
    IN_RELEASE,
    OPERATOR,
    RELEASE,
    RELEASE_NAMESPACE,
    wait_for_operator,
)

pytestmark = pytest.mark.alone

SAYS = "import os, sys\nprint({!r}, os.environ['GREETING'], sys.stdin.read())\n"
GREETING = [{"name": "GREETING", "value": "hello"}]
LIMITS = {"limits": {"memory": "96Mi"}}


def version(dev: DevAccess, namespace: Namespace, number: int, code: str) -> Json:
    """A version with a ZIP in S3, below the root of the namespace."""
    body = zip_of(main__py=code)
    key = namespace.key(names.function_object("report", number))
    dev.s3.put_object(Bucket=dev.bucket, Key=key, Body=body)
    digest = hashlib.sha256(body).hexdigest()
    s3 = {"key": key, "sha256": digest}
    return {"version": number, "s3": s3, "createdAt": "2025-10-06T06:30:14Z"}


def function(*versions: Json, **spec: Any) -> Json:
    """The Function ``report``."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.FUNCTION_KIND,
        "metadata": {"name": "report"},
        "spec": {"versions": list(versions), "env": GREETING, "resources": LIMITS, **spec},
    }


def run(name: str, number: int | None = None, **spec: Any) -> Json:
    """A job that refers to the Function ``report``."""
    ref = {"name": "report"} if number is None else {"name": "report", "version": number}
    return job(name, functionRef=ref, **spec)


def status_of(namespace: Namespace) -> Json:
    """The Function's status; empty until the operator writes one."""
    body = kubectl_json("--namespace", namespace.name, "get", "fn", "report")
    found: Json = body.get("status") or {}
    return found


def counted(namespace: Namespace, runs: int) -> Json:
    """Wait until the Function's status counts ``runs`` runs; returns the status."""
    found: Json = eventually(
        f"{runs} runs are counted",
        lambda: (s := status_of(namespace)).get("runs", 0) >= runs and s,
    )
    assert found["runs"] == runs
    return found


def test_a_job_runs_the_newest_version_with_the_settings_of_function_and_job(
    dev: DevAccess, namespace: Namespace
) -> None:
    first = version(dev, namespace, 1, SAYS.format("one"))
    second = version(dev, namespace, 2, SAYS.format("two"))
    namespace.apply(function(first, second))

    own_env = [{"name": "GREETING", "value": "hi"}]
    newest = namespace.run(run("newest", stdin="in"))
    older = namespace.run(run("older", 1, env=own_env, resources={"limits": {"memory": "64Mi"}}))

    assert newest["result"]["stdout"] == "two hello in\n"
    assert newest["result"]["functionId"] == "report"
    assert newest["peakMemory"].endswith("/96Mi")
    assert older["result"]["stdout"] == "one hi \n"
    assert older["peakMemory"].endswith("/64Mi")
    pinned = newest["function"]
    assert (pinned["name"], pinned["version"]) == ("report", 2)
    assert pinned["s3"] == {"bucket": dev.bucket, **second["s3"]}
    assert older["function"]["uid"] == pinned["uid"]


def test_a_later_attempt_runs_the_same_code_after_changes_to_the_function(
    dev: DevAccess, namespace: Namespace
) -> None:
    waits = "import socket, time\nif socket.gethostname().endswith('-0'): time.sleep(600)\n"
    first = version(dev, namespace, 1, waits + "print('one')\n")
    namespace.apply(function(first), run("kept"))
    eventually("the code runs", lambda: "running" in namespace.sandbox("kept"))
    namespace.patch("kept", suspend=True)

    second = version(dev, namespace, 2, "print('two')\n")
    namespace.apply(function(first, second, command=["python3", "none.py"]))
    eventually("it is suspended", lambda: namespace.status("kept")["phase"] == "Suspended")
    namespace.kubectl("delete", "fn", "report")
    namespace.patch("kept", suspend=False)
    status = namespace.finished("kept")

    assert status["reason"] == "Completed"
    assert status["result"]["stdout"] == "one\n"
    assert [attempt["number"] for attempt in status["attempts"]] == [0, 1]


def test_a_missing_function_or_version_fails_the_job_at_once(
    dev: DevAccess, namespace: Namespace
) -> None:
    missing = namespace.run(run("missing", backoffLimit=3))
    namespace.apply(function(version(dev, namespace, 1, SAYS.format("one"))))
    unnumbered = namespace.run(run("unnumbered", 7, backoffLimit=3))
    existing = namespace.run(run("existing", 1))

    assert missing["reason"] == "FunctionNotFound"
    assert "no function report" in missing["message"]
    assert missing["result"]["functionId"] == "report"
    assert unnumbered["reason"] == "VersionNotFound"
    assert "no version 7" in unnumbered["message"]
    assert namespace.pods("missing") == namespace.pods("unnumbered") == []
    assert existing["reason"] == "Completed", "a positive control"


def test_six_runs_are_counted_once_and_suggest_a_memory_limit(
    dev: DevAccess, namespace: Namespace
) -> None:
    uses = "kept = bytearray(30 << 20)\nfor i in range(0, len(kept), 4096): kept[i] = 1\n"
    namespace.apply(function(version(dev, namespace, 1, uses)))
    namespace.apply(*(run(f"run-{number}") for number in range(6)))
    for number in range(6):
        namespace.finished(f"run-{number}")
    status = counted(namespace, 6)

    assert status["versions"] == 1
    assert {entry["job"] for entry in status["recent"]} == {f"run-{n}" for n in range(6)}
    assert all(entry["memoryLimitBytes"] == 96 << 20 for entry in status["recent"])
    assert all(entry["version"] == 1 for entry in status["recent"])
    advice = status["recommendation"]
    assert (advice["basedOn"], advice["currentLimitBytes"]) == (6, 96 << 20)
    assert 30 << 20 < advice["p95PeakBytes"] < 96 << 20
    heads, shown = namespace.kubectl("get", "fn").splitlines()
    assert heads.split() == ["NAME", "NEWEST", "RUNS", "LAST", "RECOMMENDED", "AGE"]
    assert shown.split()[:5] == ["report", "1", "6", "SUCCESS", advice["memory"]]


def test_runs_by_label_and_by_function_id_count_and_failures_are_shown(
    dev: DevAccess, namespace: Namespace
) -> None:
    namespace.apply(function(version(dev, namespace, 1, SAYS.format("one"))))
    labelled = inline("labelled", "raise SystemExit(3)")
    labelled["metadata"]["labels"] = {names.LABEL_FUNCTION: "report"}
    namespace.run(inline("named", "print(1)", functionId="report"))
    namespace.run(inline("stranger", "print(1)", functionId="nothing"))
    namespace.run(labelled)
    status = counted(namespace, 2)

    assert [entry["job"] for entry in status["recent"]] == ["labelled", "named"]
    assert status["lastRun"]["status"] == "FAILED"
    assert status["lastRun"]["reason"] == "NonZeroExit"


def test_a_restart_of_the_operator_neither_loses_nor_repeats_a_run(
    dev: DevAccess, namespace: Namespace
) -> None:
    namespace.apply(function(version(dev, namespace, 1, SAYS.format("one"))))
    namespace.run(run("before"))
    # At once, before the operator can count the job that has just ended.
    kubectl(*IN_RELEASE, "rollout", "restart", OPERATOR)
    namespace.run(run("meanwhile"))
    wait_for_operator()
    namespace.run(run("after"))
    status = counted(namespace, 3)

    assert sorted(entry["job"] for entry in status["recent"]) == ["after", "before", "meanwhile"]


@pytest.mark.parametrize("verb", ["update", "delete", "create", "list"])
def test_the_operator_may_not_change_functions(cluster: None, verb: str) -> None:
    account = f"system:serviceaccount:{RELEASE_NAMESPACE}:{RELEASE}"
    fn = f"{names.FUNCTION_PLURAL}.{names.GROUP}"

    def may(*args: str) -> bool:
        try:
            return kubectl("auth", "can-i", *args, "-A", "--as", account).strip() == "yes"
        except KubectlError:
            return False

    assert may("get", fn), "a positive control"
    assert may("patch", fn, "--subresource=status")
    assert not may(verb, fn)
