"""Create a job exactly once, even if the request is sent several times."""

from typing import Final

from nanogrid.backoff import exponential, jitter
from nanogrid.client.errors import ApiError, Conflict, NotFound
from nanogrid.client.jobs.manifest import ANNOTATION_SPEC_HASH
from nanogrid.client.kube.cluster import Cluster
from nanogrid.client.kube.paths import jobs
from nanogrid.types import Json

TRIES: Final = 5
PAUSE_SECONDS: Final = 0.3


def submit(cluster: Cluster, manifest: Json) -> Json:
    """Create the job, or return the job that an earlier send of the same request created.

    The manifest is stamped (:func:`nanogrid.client.jobs.manifest.stamped`). Its name is fixed, so a
    repeated request finds the first job. The annotation shows whether that job has the same spec.

    Raises:
        Conflict: another job has the name.
        Unreachable: no try got an answer; the job may exist.
        ApiError: the API server refuses the job.
    """
    metadata = manifest["metadata"]
    path = jobs(metadata.get("namespace") or cluster.namespace)
    for attempt in range(TRIES):
        try:
            return cluster.create(path, manifest)
        except Conflict:
            found = _same_job(cluster, path, manifest)
            if found is not None:
                return found
        except ApiError as e:
            if attempt == TRIES - 1 or not (e.status == 0 or e.status >= 500):
                raise
        cluster.timing.sleep(jitter(exponential(attempt, PAUSE_SECONDS), 0.7, 1.3))
    message = f"a job {metadata['name']} is being deleted."
    raise Conflict(409, "AlreadyExists", message, "Wait until it is gone, or use another name.")


def _same_job(cluster: Cluster, path: str, manifest: Json) -> Json | None:
    """The job with this name if it has the same spec; None while it is being deleted."""
    name = manifest["metadata"]["name"]
    try:
        found = cluster.get(f"{path}/{name}")
    except NotFound:
        return None
    if "deletionTimestamp" in found["metadata"]:
        return None
    wanted = manifest["metadata"]["annotations"][ANNOTATION_SPEC_HASH]
    if (found["metadata"].get("annotations") or {}).get(ANNOTATION_SPEC_HASH) == wanted:
        return found
    raise Conflict(
        409,
        "AlreadyExists",
        f"a job {name} exists, with another spec.",
        "Use another name or requestId. Each name and requestId belongs to one job.",
    )
