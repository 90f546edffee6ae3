"""Functions, jobs that refer to them, and runs of them that have ended, as the API server has them.

Everything is about one function, ``report`` in ``team-a``, with versions 1 and 2.
"""

from typing import Any

from nanogrid import names
from unit.builders import CREATED_TEXT, Json, a_job_body, time_text

FUNCTION = "report"
FUNCTION_UID = "6f1c7f3e-2f43-4f0b-9c7e-3b1c3f0a7d10"
FUNCTIONS = "/apis/nanogrid.io/v1alpha1/namespaces/team-a/functions"
WRITE_FUNCTION = f"PATCH {FUNCTIONS}/{FUNCTION}/status"


def a_version(number: int, **changes: Any) -> Json:
    """An uploaded version."""
    digest = f"{number:x}" * 64
    return {
        "version": number,
        "s3": {"key": f"functions/{FUNCTION}/v{number}.zip", "sha256": digest[:64]},
        "createdAt": CREATED_TEXT,
        **changes,
    }


def a_function_body(
    *, uid: str = FUNCTION_UID, deleting: bool = False, status: Json | None = None, **spec: Any
) -> Json:
    """A Function; further keywords are fields of its spec."""
    metadata: Json = {
        "name": FUNCTION,
        "namespace": "team-a",
        "uid": uid,
        "generation": 3,
        "resourceVersion": "7",
        "creationTimestamp": CREATED_TEXT,
    }
    if deleting:
        metadata["deletionTimestamp"] = CREATED_TEXT
    body: Json = {
        "apiVersion": names.API_VERSION,
        "kind": names.FUNCTION_KIND,
        "metadata": metadata,
        "spec": {"versions": [a_version(1), a_version(2)], **spec},
    }
    return body if status is None else body | {"status": status}


def a_function_job(version: int | None = None, **changes: Any) -> Json:
    """An ExecutionJob that refers to the function."""
    ref: Json = {"name": FUNCTION} if version is None else {"name": FUNCTION, "version": version}
    body = a_job_body(functionRef=ref, **changes)
    del body["spec"]["code"]
    return body


def a_run_body(
    uid: str = "run-1",
    *,
    age: float = 10.0,
    created_age: float = 0.0,
    status: str = "SUCCESS",
    reason: str = "Completed",
    peak_mb: int | None = 40,
    limit: str | None = "256Mi",
    pinned: Json | None = None,
    labels: Json | None = None,
    annotations: Json | None = None,
    **spec: Any,
) -> Json:
    """A job that ended ``age`` seconds after ``CREATED``; without names it is of no function."""
    told: Json = {"requestId": uid, "status": status, "reason": reason, "exitCode": 0}
    told |= {"durationMillis": 312, "memorySource": "cgroup2"}
    told["peakMemoryBytes"] = None if peak_mb is None else peak_mb << 20
    ended: Json = {
        "phase": "Succeeded" if status == "SUCCESS" else "Failed",
        "completionTime": time_text(age),
        "result": told,
        "attempts": [{"number": 0, "memoryLimit": limit}] if limit else [],
    }
    if pinned is not None:
        ended["function"] = pinned
    body = a_job_body(name=f"job-{uid}", uid=uid, status=ended, **spec)
    body["metadata"]["creationTimestamp"] = time_text(created_age)
    body["metadata"] |= {"labels": labels or {}, "annotations": annotations or {}}
    return body


def a_labelled_run(uid: str = "run-1", **changes: Any) -> Json:
    """A run as the gateway makes them: a copy of version 2, and a label that says of what."""
    notes = {names.ANNOTATION_FUNCTION_VERSION: "2"}
    return a_run_body(uid, labels={names.LABEL_FUNCTION: FUNCTION}, annotations=notes, **changes)
