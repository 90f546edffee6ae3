"""Functions, jobs that refer to them, and their ended runs, as the API server returns them.

All data is about one function, ``report`` in ``team-a``, with versions 1 and 2.
"""

from typing import Any

from nanogrid import names
from nanogrid.api.function_spec import FunctionRef
from nanogrid.api.pinned_function import PinnedFunction
from nanogrid.types import Json
from nanogrid_operator.model.function_ref import pin
from nanogrid_operator.model.tenant import Tenant
from support.builders import (
    CREATED_TEXT,
    a_job_body,
    an_object,
    tenant_of,
    time_text,
)

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
    metadata = {"name": FUNCTION, "uid": uid, "generation": 3, "resourceVersion": "7"}
    versions = {"versions": [a_version(1), a_version(2)], **spec}
    return an_object(names.FUNCTION_KIND, metadata, versions, deleting=deleting, status=status)


def a_function_job(version: int | None = None, **changes: Any) -> Json:
    """An ExecutionJob that refers to the function."""
    ref: Json = {"name": FUNCTION} if version is None else {"name": FUNCTION, "version": version}
    body = a_job_body(functionRef=ref, **changes)
    del body["spec"]["code"]
    return body


def a_pinned_function(
    version: int | None = None, *, tenant: Tenant | None = None, **spec: Any
) -> PinnedFunction:
    """The version of the function that a job pins; without a number the newest one."""
    ref = FunctionRef(name=FUNCTION, version=version)
    return pin(ref, a_function_body(**spec), tenant or tenant_of())


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
    """A job that ended ``age`` seconds after ``CREATED``; spec or labels name a function."""
    result: Json = {"requestId": uid, "status": status, "reason": reason, "exitCode": 0}
    result |= {"durationMillis": 312, "memorySource": "cgroup2"}
    result["peakMemoryBytes"] = None if peak_mb is None else peak_mb << 20
    ended: Json = {
        "phase": "Succeeded" if status == "SUCCESS" else "Failed",
        "completionTime": time_text(age),
        "result": result,
        "attempts": [{"number": 0, "memoryLimit": limit}] if limit else [],
    }
    if pinned is not None:
        ended["function"] = pinned
    body = a_job_body(name=f"job-{uid}", uid=uid, status=ended, **spec)
    body["metadata"]["creationTimestamp"] = time_text(created_age)
    body["metadata"] |= {"labels": labels or {}, "annotations": annotations or {}}
    return body


def a_labelled_run(uid: str = "run-1", **changes: Any) -> Json:
    """A run that names its function by a label, and version 2 by an annotation."""
    notes = {names.ANNOTATION_FUNCTION_VERSION: "2"}
    return a_run_body(uid, labels={names.LABEL_FUNCTION: FUNCTION}, annotations=notes, **changes)
