"""Readable test data: realistic jobs, pods, reports and settings.

``*_body`` returns the JSON of the API server; the name without it returns what the operator reads
from it. All data is about one job, ``sales`` in ``team-a``, whose pod was created at ``CREATED``.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nanogrid import names, wire
from nanogrid.types import Json
from nanogrid_operator.kube.objects import pod_name
from nanogrid_operator.model.facts import Job, job_facts
from nanogrid_operator.model.pod_facts import Pod, pod_facts
from nanogrid_operator.model.result_keys import ResultKeys
from nanogrid_operator.model.tenant import Tenant, Tenants
from nanogrid_operator.settings import Settings

ROOT = Path(__file__).parents[2]
CREATED = 1_760_000_000.0
CREATED_TEXT = "2025-10-09T08:53:20Z"
JOB_UID = "0b9c2f6e-4f0c-4a55-9f5e-0a4a5a1d2c11"
POD_UID = "5d1e7a90-9d3b-4f57-8a37-6f0f3f6f9b02"
POD_NAME = "sales-5351954b-0"
EXECUTOR_IMAGE = "nanogrid-executor:1.0"
INLINE: Json = {"inline": "print('hello')\n"}
MIB = 1 << 20
RESULT_KEY_MASTER = "result-key-of-the-tests"
# The variables without which the operator does not start.
REQUIRED_ENVIRONMENT = {
    "NANOGRID_EXECUTOR_IMAGE": "i",
    "NANOGRID_RESULTS_URL": "u",
    "NANOGRID_RESULT_KEY_MASTER": RESULT_KEY_MASTER,
}


def time_text(age: float) -> str:
    """``age`` seconds after ``CREATED`` as Kubernetes writes it."""
    return datetime.fromtimestamp(CREATED + age, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def golden(name: str) -> Any:
    """A file of tests/support/golden."""
    return json.loads((Path(__file__).parent / "golden" / name).read_text(encoding="utf-8"))


def some_settings(**changes: Any) -> Settings:
    """The settings that the chart sets, with S3 keys in a Secret."""
    base = Settings(
        executor_image=EXECUTOR_IMAGE,
        results_url="http://nanogrid-operator.nanogrid:8080/v1/results",
        s3_endpoint="http://s3.nanogrid:8333",
        s3_bucket="user-data",
        s3_secret="nanogrid-s3",
        result_key_master=RESULT_KEY_MASTER,
        # Most tests are about one namespace, so they have its short names.
        compatibility_namespace="team-a",
        # They create a pod and nothing else.
        network_policies=False,
    )
    return replace(base, **changes)


def tenant_of(settings: Settings | None = None, namespace: str = "team-a", **spec: Any) -> Tenant:
    """A namespace; further keywords are fields of its NanoGridTenant."""
    tenants = Tenants(settings or some_settings())
    if spec:
        assert not tenants.replace([{"metadata": {"name": namespace}, "spec": spec}])
    return tenants.of(namespace)


def a_job_body(
    *,
    name: str = "sales",
    namespace: str = "team-a",
    uid: str = JOB_UID,
    version: int = 10,
    deleting: bool = False,
    status: Json | None = None,
    labels: Json | None = None,
    annotations: Json | None = None,
    **spec: Any,
) -> Json:
    """An ExecutionJob; further keywords are fields of its spec."""
    given = {"labels": labels, "annotations": annotations}
    return an_object(
        names.KIND,
        {"name": name, "uid": uid, "generation": 1, "resourceVersion": str(version)}
        | {key: value for key, value in given.items() if value is not None},
        {"code": INLINE, **spec},
        namespace=namespace,
        deleting=deleting,
        status=status,
    )


def an_object(
    kind: str,
    metadata: Json,
    spec: Json,
    *,
    namespace: str = "team-a",
    deleting: bool = False,
    status: Json | None = None,
) -> Json:
    """An object of the API group, created at ``CREATED``."""
    times = {"creationTimestamp": CREATED_TEXT}
    if deleting:
        times["deletionTimestamp"] = CREATED_TEXT
    body: Json = {
        "apiVersion": names.API_VERSION,
        "kind": kind,
        "metadata": {"namespace": namespace, **metadata, **times},
        "spec": spec,
    }
    return body if status is None else body | {"status": status}


def a_job(**changes: Any) -> Job:
    """What the operator reads from that body."""
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
    """The status of a job whose attempts so far have ended and that continues."""
    return {"phase": phase, "reason": reason, "attempts": list(attempts)}


def running(age: float = 0.0) -> Json:
    """The state of a container that runs since ``age`` seconds after ``CREATED``."""
    return {"running": {"startedAt": time_text(age)}}


def waiting(reason: str = "PodInitializing", message: str = "") -> Json:
    """The state of a container that has not started."""
    return {"waiting": {"reason": reason, "message": message}}


def ended(
    exit_code: int = 0, reason: str = "", message: str = "", *, age: float | None = None
) -> Json:
    """The state of a container that has ended, with its termination message."""
    reason = reason or ("Completed" if exit_code == 0 else "Error")
    state: Json = {"exitCode": exit_code, "reason": reason, "message": message}
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
    gated: str = "",
    disrupted: str = "",
    stopped_by_kueue: str = "",
    cpu: str | None = None,
    memory: str = "256Mi",
    install: Json | None = None,
    check: Json | None = None,
    sync: Json | None = None,
    agent: Json | None = None,
    sandbox: Json | None = None,
    signs: bool = False,
) -> Json:
    """A sandbox pod that was created ``age`` seconds after ``CREATED``.

    ``install`` to ``sandbox`` are container states; None if unknown. ``signs``: the agent has a
    key, as all pods of this version have.
    """
    limits = {"memory": memory} if cpu is None else {"cpu": cpu, "memory": memory}
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
    agent_container: Json = {"name": "agent", "resources": {"limits": {"memory": "512Mi"}}}
    if signs:
        agent_container["env"] = [{"name": names.ENV_RESULT_KEY, "value": "0" * 64}]
    first = {"install-launcher": install, "check-runtime": check, "sync-input": sync}
    containers = {"agent": agent, "sandbox": sandbox}
    conditions = _pod_conditions(ready, unschedulable or gated, disrupted)
    if gated:
        conditions[0]["reason"] = "SchedulingGated"
    if stopped_by_kueue:
        target = {"type": "TerminationTarget", "status": "True", "reason": stopped_by_kueue}
        conditions.append(target)
    status: Json = {"phase": phase, "conditions": conditions}
    status |= {k: v for k, v in (("reason", reason), ("message", message)) if v}
    status["initContainerStatuses"] = [{"name": n, "state": s} for n, s in first.items() if s]
    status["containerStatuses"] = [{"name": n, "state": s} for n, s in containers.items() if s]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            "containers": [
                agent_container,
                {"name": "sandbox", "resources": {"limits": limits}},
            ]
        },
        "status": status,
    }


def _pod_conditions(ready: bool, unschedulable: str, disrupted: str) -> list[Json]:
    scheduled: Json = {"type": "PodScheduled", "status": "False" if unschedulable else "True"}
    if unschedulable:
        scheduled |= {"reason": "Unschedulable", "message": unschedulable}
    conditions = [scheduled]
    if ready:
        conditions.append({"type": "Ready", "status": "True"})
    if disrupted:
        target = {"type": "DisruptionTarget", "status": "True", "reason": disrupted}
        conditions.append(target)
    return conditions


def a_pod(**changes: Any) -> Pod:
    """What the operator reads from that body."""
    return pod_facts(a_pod_body(**changes))


def a_running_pod(**changes: Any) -> Pod:
    """A pod whose code runs."""
    given: Json = {"phase": "Running", "agent": running(), "sandbox": running(), **changes}
    return a_pod(**given)


def a_result(**changes: Any) -> wire.Result:
    """The agent's result of code that printed hello and exited with 0."""
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
        namespace="team-a",
        job=wire.JobRef(namespace="team-a", name="sales", uid=JOB_UID),
        message="The code exited with 0 and its outputs are stored.",
        stdout_bytes=6,
        cpu_millis=120,
        memory_source="cgroup2",
    )
    return replace(base, **changes)


def signed(result: wire.Result) -> wire.Result:
    """The result with the code that agent and operator give it."""
    return ResultKeys(RESULT_KEY_MASTER).sign(result)


def a_failed_result(exit_code: int | None = 3, **changes: Any) -> wire.Result:
    """The agent's result of code that exited with another code than 0."""
    base = a_result(status="FAILED", exit_code=exit_code, reason="NonZeroExit", message="Exit 3.")
    return replace(base, **changes)


def a_lost_result(**changes: Any) -> wire.Result:
    """The agent's result if the sandbox disappeared without a report."""
    unmeasured: Json = {"peak_memory_bytes": None, "peak_memory_mb": None, "memory_source": None}
    return a_failed_result(None, **{"reason": "SandboxLost", **unmeasured, **changes})


def a_stopped_result(**changes: Any) -> wire.Result:
    """The agent's result of code that it stopped because its pod was deleted."""
    given: Json = {"reason": "Terminated", "signal": "SIGTERM", "message": "", **changes}
    return a_failed_result(143, **given)


def a_report(
    result: wire.Result | None = None,
    *,
    final: bool = True,
    inputs: wire.InputReport | None = None,
) -> wire.Report:
    """The report that the agent POSTs."""
    result = result or a_result()
    return wire.Report(attempt=result.attempt, result=result, inputs=inputs, final=final)


def merge_patch(target: Any, patch: Any) -> Any:
    """Apply a merge patch like the API server (RFC 7386): null removes, also from new objects."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
