"""Reads fields of jobs, and writes models as Kubernetes stores them. Pure."""

from nanogrid import names
from nanogrid.api.fields import Model
from nanogrid.types import Json


def plain(model: Model) -> Json:
    """A model as Kubernetes stores it: camelCase, without absent and default values."""
    found: Json = model.model_dump(
        mode="json", by_alias=True, exclude_none=True, exclude_defaults=True
    )
    return found


def status_of(job: Json) -> Json:
    """A job's status, empty before the operator has written one."""
    return job.get("status") or {}


def request_id_of(job: Json) -> str:
    """The requestId in force."""
    return str(job["spec"].get("requestId") or job["metadata"]["uid"])


def version_of(job: Json) -> int | None:
    """The function's version that a job runs."""
    text = (job["metadata"].get("annotations") or {}).get(names.ANNOTATION_FUNCTION_VERSION, "")
    if text.isdecimal():
        return int(text)
    pinned: int | None = (status_of(job).get("function") or {}).get("version")
    return pinned


def belongs_to(result: Json, uid: str) -> bool:
    """Whether a result is of the job with this uid, not of another job with its requestId."""
    job = result.get("job")
    return isinstance(job, dict) and job.get("uid") == uid
