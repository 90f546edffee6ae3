"""One job as lists need it: some hundred bytes out of up to a hundred thousand. Pure."""

import sys
from dataclasses import dataclass
from typing import Any, Final

from nanogrid import names
from nanogrid.status import Phase
from nanogrid_gateway.api import jobs
from nanogrid_gateway.web import words

Json = dict[str, Any]

MESSAGE: Final = 300  # characters
SPEC: Final = ("requestId", "functionId", "functionRef", "mode")
RESULT: Final = ("durationMillis", "peakMemoryBytes", "exitCode")
STATUS: Final = ("phase", "reason", "requestId", "completionTime", "peakMemory")


@dataclass(frozen=True, slots=True)
class Row:
    """What is shown of one job; times as Kubernetes writes them, memory in bytes."""

    uid: str
    name: str
    request_id: str
    function: str
    version: str
    session: bool
    phase: str
    reason: str
    message: str
    created: str
    completed: str
    duration: int | None
    peak: int | None
    limit: int | None
    exit_code: int | None

    @property
    def ended(self) -> bool:
        """Whether it has ended for good."""
        return self.phase in (Phase.SUCCEEDED, Phase.FAILED)

    @property
    def order(self) -> tuple[str, str]:
        """Newest first, when sorted backwards."""
        return self.created, self.name


def row_of(job: Json) -> Row:
    """The row of a job, whole or slim."""
    meta, status = job["metadata"], jobs.status_of(job)
    result = status.get("result") or {}
    phase = status.get("phase") or Phase.PENDING.value
    waits = phase not in (Phase.SUCCEEDED, Phase.FAILED)
    return Row(
        uid=meta["uid"],
        name=meta["name"],
        request_id=str(job["spec"].get("requestId") or status.get("requestId") or meta["uid"]),
        function=sys.intern(jobs.function_of(job)),
        version=sys.intern(version_of(job)),
        session=job["spec"].get("mode") == names.MODE_SESSION,
        phase=sys.intern(phase),
        reason=sys.intern(status.get("reason") or ""),
        message=str(status.get("message") or "")[:MESSAGE] if waits else "",
        created=str(meta.get("creationTimestamp") or ""),
        completed=str(status.get("completionTime") or ""),
        duration=result.get("durationMillis"),
        peak=result.get("peakMemoryBytes"),
        limit=memory_limit(job),
        exit_code=result.get("exitCode"),
    )


def version_of(job: Json) -> str:
    """The function's version that a job runs, if it is known."""
    return str(jobs.version_of(job) or "")


def memory_limit(job: Json) -> int | None:
    """The limit that the operator measured against, or that the job asks for; bytes."""
    shown = str(jobs.status_of(job).get("peakMemory") or "").partition("/")[2]
    limits = (job["spec"].get("resources") or {}).get("limits") or {}
    return words.quantity(shown) or words.quantity(limits.get("memory"))


def slim(job: Json) -> Json:
    """A job with nothing but what :func:`row_of` reads, so that the rest can be freed at once."""
    meta, spec, status = job["metadata"], job["spec"], jobs.status_of(job)
    label = (meta.get("labels") or {}).get(names.LABEL_FUNCTION)
    version = (meta.get("annotations") or {}).get(names.ANNOTATION_FUNCTION_VERSION)
    kept = ("uid", "name", "creationTimestamp", "resourceVersion")
    result = status.get("result") or {}
    waits = status.get("phase") not in (Phase.SUCCEEDED, Phase.FAILED)
    return {
        "metadata": {k: meta[k] for k in kept if k in meta}
        | ({"labels": {names.LABEL_FUNCTION: label}} if label else {})
        | ({"annotations": {names.ANNOTATION_FUNCTION_VERSION: version}} if version else {}),
        "spec": {k: spec[k] for k in SPEC if k in spec}
        | {"resources": {"limits": (spec.get("resources") or {}).get("limits") or {}}},
        "status": {k: status[k] for k in STATUS if k in status}
        | ({"message": status.get("message")} if waits else {})
        | ({"function": status["function"]} if "function" in status else {})
        | {"result": {k: result[k] for k in RESULT if k in result}},
    }
