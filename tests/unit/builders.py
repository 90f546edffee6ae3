"""Readable test data: jobs, pods, reports and settings as they look in real life.

``*_body`` gives the JSON that the API server sends, the name without it what the operator reads
from it. Everything is about one job, ``sales`` in ``team-a``, whose pod was created at ``CREATED``.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nanogrid import names, wire
from nanogrid.reasons import Reason
from nanogrid_operator.facts import Job, Pod, job_facts, pod_facts
from nanogrid_operator.pod import pod_name
from nanogrid_operator.settings import Settings
from nanogrid_operator.store import Inspection, Rejection
from nanogrid_operator.view import View

Json = dict[str, Any]

ROOT = Path(__file__).parents[2]
CREATED = 1_760_000_000.0
CREATED_TEXT = "2025-10-09T08:53:20Z"
JOB_UID = "0b9c2f6e-4f0c-4a55-9f5e-0a4a5a1d2c11"
POD_UID = "5d1e7a90-9d3b-4f57-8a37-6f0f3f6f9b02"
POD_NAME = "sales-5351954b-0"
EXECUTOR_IMAGE = "nanogrid-executor:1.0"
INLINE: Json = {"inline": "print('hello')\n"}
MIB = 1 << 20


def time_text(age: float) -> str:
    """``age`` seconds after ``CREATED`` as Kubernetes writes it."""
    return datetime.fromtimestamp(CREATED + age, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def golden(name: str) -> Any:
    """A file of tests/unit/golden."""
    return json.loads((Path(__file__).parent / "golden" / name).read_text(encoding="utf-8"))


def some_settings(**changes: Any) -> Settings:
    """Settings as the chart with S3 keys in a Secret gives them."""
    base = Settings(
        executor_image=EXECUTOR_IMAGE,
        results_url="http://nanogrid-operator.nanogrid:8080/v1/results",
        s3_endpoint="http://s3.nanogrid:8333",
        s3_bucket="user-data",
        s3_secret="nanogrid-s3",
    )
    return replace(base, **changes)


def a_job_body(
    *,
    name: str = "sales",
    namespace: str = "team-a",
    uid: str = JOB_UID,
    version: int = 10,
    deleting: bool = False,
    status: Json | None = None,
    **spec: Any,
) -> Json:
    """An ExecutionJob; further keywords are fields of its spec."""
    metadata: Json = {
        "name": name,
        "namespace": namespace,
        "uid": uid,
        "generation": 1,
        "resourceVersion": str(version),
        "creationTimestamp": CREATED_TEXT,
    }
    if deleting:
        metadata["deletionTimestamp"] = CREATED_TEXT
    body: Json = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "metadata": metadata,
        "spec": {"code": INLINE, **spec},
    }
    if status is not None:
        body["status"] = status
    return body


def a_job(**changes: Any) -> Job:
    """The same, as the operator reads it."""
    return job_facts(a_job_body(**changes))


def an_attempt(
    number: int = 0,
    reason: str = "NonZeroExit",
    *,
    age: float = 0.0,
    counted: bool = True,
    **more: Any,
) -> Json:
    """An entry of status.attempts that ended ``age`` seconds after ``CREATED``."""
    return {
        "number": number,
        "podName": pod_name("sales", JOB_UID, number),
        "reason": reason,
        "counted": counted,
        "startTime": CREATED_TEXT,
        "completionTime": time_text(age),
        **more,
    }


def retrying(*attempts: Json, phase: str = "Pending", reason: str = "Retrying") -> Json:
    """The status of a job whose attempts so far have ended and that goes on."""
    return {"phase": phase, "reason": reason, "attempts": list(attempts)}


def running() -> Json:
    """State of a container that runs."""
    return {"running": {"startedAt": CREATED_TEXT}}


def waiting(reason: str = "PodInitializing", message: str = "") -> Json:
    """State of a container that has not started."""
    return {"waiting": {"reason": reason, "message": message}}


def ended(
    exit_code: int = 0, reason: str = "", message: str = "", *, age: float | None = None
) -> Json:
    """State of a container that has ended, with its termination message."""
    word = reason or ("Completed" if exit_code == 0 else "Error")
    state: Json = {"exitCode": exit_code, "reason": word, "message": message}
    if age is not None:
        state["finishedAt"] = time_text(age)
    return {"terminated": state}


def a_pod_body(
    *,
    uid: str = POD_UID,
    job_uid: str = JOB_UID,
    attempt: int = 0,
    age: float = 0.0,
    version: int = 20,
    phase: str = "Pending",
    reason: str = "",
    message: str = "",
    deleting: bool = False,
    ready: bool = False,
    unschedulable: str = "",
    disrupted: str = "",
    memory: str = "256Mi",
    check: Json | None = None,
    sync: Json | None = None,
    agent: Json | None = None,
    sandbox: Json | None = None,
) -> Json:
    """A sandbox pod that was created ``age`` seconds after ``CREATED``.

    ``check``, ``sync``, ``agent`` and ``sandbox`` are container states, None if unknown.
    """
    metadata: Json = {
        "name": pod_name("sales", JOB_UID, attempt),
        "namespace": "team-a",
        "uid": uid,
        "resourceVersion": str(version),
        "creationTimestamp": time_text(age),
        "labels": {names.LABEL_JOB_UID: job_uid, names.LABEL_ATTEMPT: str(attempt)},
        "ownerReferences": [{"kind": names.KIND, "name": "sales", "uid": job_uid}],
    }
    if deleting:
        metadata["deletionTimestamp"] = CREATED_TEXT
    scheduled: Json = {"type": "PodScheduled", "status": "False" if unschedulable else "True"}
    if unschedulable:
        scheduled |= {"reason": "Unschedulable", "message": unschedulable}
    first = {"check-runtime": check, "sync-input": sync}
    containers = {"agent": agent, "sandbox": sandbox}
    status: Json = {"phase": phase, "conditions": [scheduled]}
    if ready:
        status["conditions"].append({"type": "Ready", "status": "True"})
    if disrupted:
        target = {"type": "DisruptionTarget", "status": "True", "reason": disrupted}
        status["conditions"].append(target)
    status |= {k: v for k, v in (("reason", reason), ("message", message)) if v}
    status["initContainerStatuses"] = [{"name": n, "state": s} for n, s in first.items() if s]
    status["containerStatuses"] = [{"name": n, "state": s} for n, s in containers.items() if s]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "containers": [
                {"name": "agent", "resources": {"limits": {"memory": "512Mi"}}},
                {"name": "sandbox", "resources": {"limits": {"memory": memory}}},
            ]
        },
        "status": status,
    }


def a_pod(**changes: Any) -> Pod:
    """The same, as the operator reads it."""
    return pod_facts(a_pod_body(**changes))


def a_running_pod(**changes: Any) -> Pod:
    """A pod whose code runs."""
    given: Json = {"phase": "Running", "agent": running(), "sandbox": running(), **changes}
    return a_pod(**given)


def a_result(**changes: Any) -> wire.Result:
    """What the agent says of code that printed hello and exited with 0."""
    base = wire.Result(
        request_id=JOB_UID,
        function_id=None,
        status="SUCCESS",
        exit_code=0,
        stdout="hello\n",
        stderr="",
        duration_millis=312,
        peak_memory_bytes=41 * MIB,
        peak_memory_mb=41,
        optimization_tip="",
        output_files=[],
        reason="Completed",
        job=wire.JobRef(namespace="team-a", name="sales", uid=JOB_UID),
        message="The code exited with 0 and its outputs are stored.",
        stdout_bytes=6,
        cpu_millis=120,
        memory_source="cgroup2",
    )
    return replace(base, **changes)


def a_failed_result(exit_code: int | None = 3, **changes: Any) -> wire.Result:
    """What the agent says of code that exited with another code than 0."""
    base = a_result(status="FAILED", exit_code=exit_code, reason="NonZeroExit", message="Exit 3.")
    return replace(base, **changes)


def a_lost_result(**changes: Any) -> wire.Result:
    """What the agent says when the sandbox went without a word."""
    unmeasured: Json = {"peak_memory_bytes": None, "peak_memory_mb": None, "memory_source": None}
    return a_failed_result(None, **{"reason": "SandboxLost", **unmeasured, **changes})


def a_stopped_result(**changes: Any) -> wire.Result:
    """What the agent says of code that it stopped because its pod was told to go."""
    given: Json = {"reason": "Terminated", "signal": "SIGTERM", "message": "", **changes}
    return a_failed_result(143, **given)


def a_report(
    result: wire.Result | None = None,
    *,
    final: bool = True,
    inputs: wire.InputReport | None = None,
) -> wire.Report:
    """What the agent POSTs."""
    result = result or a_result()
    return wire.Report(attempt=result.attempt, result=result, inputs=inputs, final=final)


def a_view(
    job: Job | None = None,
    pod: Pod | None = None,
    report: wire.Report | None = None,
    *,
    age: float = 1.0,
    gone: Pod | None = None,
    had_pod: bool = False,
    reported_age: float | None = None,
    refused: tuple[float, float] | None = None,
    inspected_age: float | None = None,
    warning: tuple[Reason, str] | None = None,
    crowded: str = "",
) -> View:
    """A view ``age`` seconds after the pod's creation; the report came ``reported_age`` after.

    ``refused``: between which ages the API server has refused the pod. The pod's events were asked
    at ``inspected_age`` and said ``warning``.
    """
    if report is not None and reported_age is None:
        reported_age = age
    return View(
        job=job or a_job(),
        pod=pod,
        gone=gone,
        had_pod=had_pod or gone is not None,
        report=report,
        reported_at=None if reported_age is None else CREATED + reported_age,
        rejection=a_rejection(*refused) if refused else None,
        inspection=None if inspected_age is None else Inspection(warning, CREATED + inspected_age),
        crowded=crowded,
        now=CREATED + age,
    )


def a_rejection(since: float = 0.0, last: float = 0.0) -> Rejection:
    """The API server's refusal of a pod, between two ages."""
    return Rejection("exceeded quota: compute", CREATED + since, CREATED + last)


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7386, as the API server applies it: null removes, also from what is new."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
