"""Which function a job runs. Pure, standard library only."""

from nanogrid import names
from nanogrid.types import Json


def function_of(job: Json) -> str | None:
    """The name of the function that a job runs; None for other jobs."""
    spec = job.get("spec") or {}
    labels = job["metadata"].get("labels") or {}
    referenced = (spec.get("functionRef") or {}).get("name")
    name = referenced or labels.get(names.LABEL_FUNCTION) or spec.get("functionId")
    return str(name) if name else None
