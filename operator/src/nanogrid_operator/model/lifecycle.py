"""Where a job is in its life, read from its JSON. Pure."""

from nanogrid import names
from nanogrid.api.status import RESULT_STORED
from nanogrid.lifecycle import finished
from nanogrid.reasons import Reason
from nanogrid.types import Json


def unstored(status: Json) -> bool:
    """Whether S3 does not have the result yet."""
    mark = (RESULT_STORED, "False", Reason.STORAGE_UNAVAILABLE)
    conditions = status.get("conditions") or []
    return any((c.get("type"), c.get("status"), c.get("reason")) == mark for c in conditions)


def settled(job: Json) -> bool:
    """Whether a job has finished and its result has reached Redis, the webhook and S3."""
    status = job.get("status") or {}
    delivery = status.get("delivery") or {}
    receivers = (delivery, delivery.get("webhook") or {})
    delivered = all(d.get("state") != "Pending" for d in receivers)
    return finished(job) and delivered and not unstored(status)


def kept(job: Json) -> bool:
    """Whether the default time to live does not hold for a job."""
    annotations = job["metadata"].get("annotations") or {}
    value: str = annotations.get(names.ANNOTATION_KEEP, "false")
    return value != "false"


def named_ttl(job: Json) -> int | None:
    """The time to live that a job's spec names, in seconds."""
    named: int | None = (job.get("spec") or {}).get("ttlSecondsAfterFinished")
    return named


def time_to_live(named: int | None, keep: bool, default: int | None) -> int | None:
    """Seconds after its end until a finished job is deleted; None: never.

    Args:
        named: what its spec names, in seconds.
        keep: whether the default does not hold for it.
        default: of the installation, in seconds.
    """
    return named if named is not None or keep else default


def inert(job: Json, default_ttl: int | None) -> bool:
    """Whether there is nothing left to do for a job, now or later."""
    return settled(job) and time_to_live(named_ttl(job), kept(job), default_ttl) is None
