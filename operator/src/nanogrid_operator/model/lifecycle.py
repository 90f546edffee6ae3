"""Where a job is in its life, read from its JSON. Pure."""

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


def inert(job: Json) -> bool:
    """Whether there is nothing left to do for a job, now or later."""
    return settled(job) and job.get("spec", {}).get("ttlSecondsAfterFinished") is None
